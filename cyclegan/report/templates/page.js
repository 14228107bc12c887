// The samples over time. Without this script the page shows the last ones.
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const frames = JSON.parse(document.getElementById("frames").textContent);
  const slider = document.getElementById("step");
  const now = document.getElementById("now");
  const play = document.getElementById("play");
  const grids = [...player.querySelectorAll("img[data-direction]")];
  const EACH = 450; // milliseconds a step is shown while playing
  let timer = null;

  function show(place) {
    const frame = frames[place];
    slider.value = place;
    now.textContent = "step " + frame.step;
    slider.setAttribute("aria-valuetext", "step " + frame.step);
    for (const grid of grids) {
      const uri = frame[grid.dataset.direction];
      if (!uri) continue; // this step has the other direction only
      grid.src = uri;
      grid.alt = grid.dataset.alt + ", step " + frame.step;
    }
  }

  function halt() {
    clearInterval(timer);
    timer = null;
    play.setAttribute("aria-pressed", "false");
    play.setAttribute("aria-label", "Play");
  }

  function go() {
    if (Number(slider.value) === frames.length - 1) show(0);
    timer = setInterval(() => {
      if (Number(slider.value) === frames.length - 1) halt();
      else show(Number(slider.value) + 1);
    }, EACH);
    play.setAttribute("aria-pressed", "true");
    play.setAttribute("aria-label", "Pause");
  }

  slider.addEventListener("input", () => { halt(); show(Number(slider.value)); });
  play.addEventListener("click", () => (timer === null ? go() : halt()));
  document.addEventListener("keydown", (event) => {
    // The slider handles arrow keys itself, the browser those with Ctrl or Alt, and a scrolling table scrolls by them
    if (event.target.closest("input, summary, pre, .wide") || event.ctrlKey || event.altKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    halt();
    show(Math.min(Math.max(Number(slider.value) + by, 0), frames.length - 1));
    event.preventDefault();
  });

  player.querySelector(".controls").hidden = frames.length < 2;
  show(frames.length - 1);
})();
