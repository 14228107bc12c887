"""The pages as a person has them: in a real browser, from a file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cyclegan.report import compare, write_comparison, write_report
from tests.report.examples import finished

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium-headless-shell brings one"),
]
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report and a comparison."""
    root = tmp_path_factory.mktemp("pages")
    runs = [finished(root / "one"), finished(root / "two", shade=9, seed=1)]
    return {"report": write_report(runs[0]), "compare": write_comparison(compare(runs), root / "compare.html")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM) as launched:
        yield launched


class Opened:
    """A page, with all that it asked for and all that it complained of."""

    def __init__(self, browser: Browser, path: Path, *, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        self.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_it_opens_without_complaint_asks_for_nothing_and_fits(
    pages: dict[str, Path], browser: Browser, name: str, size: tuple[int, int], scheme: str
) -> None:
    with Opened(browser, pages[name], size=size, scheme=scheme) as opened:
        page = opened.page
        assert page.locator("img").count() >= 6
        assert page.evaluate("[...document.images].every(it => it.complete && it.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith("data:")] == [pages[name].as_uri()]
        ground, ink = (page.evaluate(f"getComputedStyle(document.body).{it}") for it in ("backgroundColor", "color"))
        light = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (ground, ink)]
        assert (light[0] > 0.9 and light[1] < 0.2) if scheme == "light" else (light[0] < 0.2 and light[1] > 0.8)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_are_seen_on_their_ground(pages: dict[str, Path], browser: Browser, scheme: str) -> None:
    with Opened(browser, pages["report"], scheme=scheme) as opened:
        card = opened.page.locator(".chart").first
        ground = opened.page.evaluate("it => getComputedStyle(it).backgroundColor", card.element_handle())
        for part, least in (("svg path[style*='var(--series']", 2.5), ("svg text", 4.5)):
            colour = "stroke" if "path" in part else "fill"
            handle = card.locator(part).last.element_handle()
            shown = opened.page.evaluate(f"it => getComputedStyle(it).{colour}", handle)
            assert contrast(ground, shown) >= least, (part, ground, shown)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2 of two colours as browsers write them."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_slider_and_the_arrows_show_other_steps(pages: dict[str, Path], browser: Browser) -> None:
    with Opened(browser, pages["report"]) as opened:
        page = opened.page
        slider, now, grid = (
            page.get_by_label("Training step of the samples"),
            page.locator("#now"),
            page.locator("#grid-a2b"),
        )
        expect(now).to_have_text("step 100")
        last = grid.get_attribute("src")
        slider.fill("0")
        expect(now).to_have_text("step 0")
        first = grid.get_attribute("src")
        assert first != last
        assert "step 0" in (grid.get_attribute("alt") or "")
        assert page.locator("#grid-b2a").get_attribute("alt", timeout=1000) != grid.get_attribute("alt")
        # By the keyboard, in the slider and elsewhere
        slider.press("ArrowRight")
        expect(now).to_have_text("step 50")
        expect(slider).to_have_attribute("aria-valuetext", "step 50")
        page.locator("h1").click()
        page.keyboard.press("ArrowRight")
        expect(now).to_have_text("step 100")
        assert grid.get_attribute("src") == last
        page.keyboard.press("ArrowRight")  # there is no more
        expect(now).to_have_text("step 100")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(now).to_have_text("step 0")
        assert grid.get_attribute("src") == first


def test_it_plays_from_the_first_to_the_last_and_stops(pages: dict[str, Path], browser: Browser) -> None:
    with Opened(browser, pages["report"]) as opened:
        page = opened.page
        page.get_by_role("button", name="Play").click()
        expect(page.locator("#now")).to_have_text("step 0")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        expect(page.locator("#now")).to_have_text("step 100")
        expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_every_picture_has_words_and_every_control_a_name(pages: dict[str, Path], browser: Browser) -> None:
    for path in pages.values():
        with Opened(browser, path) as opened:
            page = opened.page
            assert all((it.get_attribute("alt") or "").strip() for it in page.locator("img").all())
            assert all(it.get_attribute("aria-label") for it in page.locator("[role=img], input, button, nav").all())
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map(it => it.id)")
            assert len(ids) == len(set(ids))
            targets = page.evaluate("[...document.querySelectorAll('a[href]')].map(it => it.getAttribute('href'))")
            assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_without_script_the_last_grids_are_there(pages: dict[str, Path], browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["report"].as_uri())
    assert page.locator("#grid-a2b").get_attribute("alt") == (
        "Samples, horses to zebras: a row for each picture, with real, fake, reconstructed, identity, step 100"
    )
    expect(page.locator("#play")).to_be_hidden()
    context.close()


def test_a_script_in_a_name_does_not_run(tmp_path: Path, browser: Browser) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)<script>"
    with Opened(browser, write_report(finished(tmp_path / "run", a=f"/x/{evil}", b=f"/x/{evil}"))) as opened:
        assert evil in opened.page.title()
        assert opened.complaints == []
        assert not [url for url in opened.requests if url.endswith("/x")]
