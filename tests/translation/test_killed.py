"""Jobs that are killed: begun again they go on, and what they leave is what an undisturbed one leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.models.examples import generators_file
from tests.support.pictures import random_pixels
from tests.translation import killed
from tests.translation.examples import files, picture, record

pytestmark = pytest.mark.slow

PICTURES, KILLS = 1000, 20
# At the kill two batches may be computed or wait for it, and of pictures that were computed as many wait for a writer
# as `Pipeline` lets there be: twice the number of its threads, or of pictures in a batch
THREADS = min(16, max(2, os.cpu_count() or 1))
IN_FLIGHT = 2 * killed.BATCH + 2 * max(THREADS, 8) + killed.BATCH


class Watcher(threading.Thread):
    """Reads whatever appears below `folder` at once, and keeps the names of what is not as in `expected`."""

    def __init__(self, folder: Path, expected: dict[str, bytes]) -> None:
        super().__init__()
        self._folder, self._expected = folder, expected
        self.seen: set[str] = set()
        self.wrong: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            for name in set(files(self._folder)) - self.seen:
                self.seen.add(name)
                if self._expected.get(name) != (self._folder / name).read_bytes():
                    self.wrong.append(name)


def test_killed_twenty_times_it_ends_as_if_undisturbed_and_does_no_picture_twice(tmp_path: Path) -> None:
    for number in range(PICTURES):
        pixels = random_pixels(4, 4, seed=number)
        pixels[0, 0, :2] = divmod(number, 256)
        path = tmp_path / f"in/{number % 10}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    names = files(tmp_path / "in")
    rng, log = random.Random(0), tmp_path / "log"
    whole = [str(tmp_path / "in"), str(tmp_path / "whole"), str(tmp_path / "other log"), "0"]
    program = [sys.executable, "-m", "tests.translation.killed"]
    began = time.monotonic()
    done = subprocess.run([*program, *whole], input="\n\n", capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "0", done.stderr
    taken = time.monotonic() - began
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in names}
    watcher = Watcher(tmp_path / "out", expected)
    watcher.start()
    longest = PICTURES / killed.BATCH * killed.SECONDS / KILLS * 3  # so that some is left when all kills are over
    moments = ",".join(str(rng.uniform(0.02, longest)) for _ in range(KILLS))
    try:
        with subprocess.Popen(
            [*program, str(tmp_path / "in"), str(tmp_path / "out"), str(log), moments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            statuses, computed_at_all = [], 0
            there: set[str] = set()
            for _ in range(KILLS + 1):
                statuses.append(int(running.stdout.readline()))
                lines = log.read_text().splitlines() if log.exists() else []
                computed = [f"{int(line) % 10}/{line}.png" for line in lines[computed_at_all:]]
                computed_at_all = len(lines)
                assert not there & set(computed)  # what was there was not computed again
                now = set(files(tmp_path / "out"))
                assert len(computed) - len(now - there) <= IN_FLIGHT
                there = now
                running.stdin.write("\n")
                running.stdin.flush()
    finally:
        watcher.over.set()
        watcher.join()
    assert statuses[-1] == 0
    assert statuses.count(signal.SIGKILL) >= KILLS * 3 // 4, (statuses, taken)  # it was in mid-job that it was killed
    assert watcher.wrong == []
    assert len(watcher.seen) > KILLS
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == expected
    assert record(tmp_path / "out") == record(tmp_path / "whole") == ["job.json", "lock", "manifest.jsonl"]


def test_the_command_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    for number in range(300):
        picture(tmp_path / f"in/{number:03d}.png", (40, 40), number)
    model = generators_file(tmp_path / "model.safetensors")
    words = [str(model), str(tmp_path / "in"), str(tmp_path / "out"), "--device", "cpu", "--precision", "fp32"]
    command = [sys.executable, "-m", "cyclegan", "translate", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        until = time.monotonic() + 120
        while len(files(tmp_path / "out")) < 5 and running.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)
        running.kill()
    made = {name: (tmp_path / "out" / name).stat().st_ino for name in files(tmp_path / "out")}
    assert 5 <= len(made) < 300, "the job was over before it was killed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"translated {300 - len(made)} of 300 pictures" in done.stdout
    assert f"{len(made)} were there already" in done.stdout
    assert {name: (tmp_path / "out" / name).stat().st_ino for name in made} == made
    assert record(tmp_path / "out") == ["job.json", "lock", "manifest.jsonl"]
