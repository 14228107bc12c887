"""Charts: SVG that belongs to the page it stands in."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import pytest

from cyclegan.report.charts import Line, chart, short, words
from cyclegan.report.series import Series


def series(*values: float) -> Series:
    made = Series()
    for number, value in enumerate(values):
        made.add(10 * number, value)
    return made


def test_it_takes_its_colours_and_its_type_from_the_page() -> None:
    svg = chart("c1", [Line("one", series(1, 2, 3), 0), Line("two", series(3, 2, 1), 9)], level=2.5)
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {
        *("none", "var(--ink-2)", "var(--line)", "var(--series-0)", "var(--series-1)")
    }
    assert "var(--series-0)" in svg
    assert "var(--series-1)" in svg  # a ninth colour begins again
    assert set(re.findall(r"font-family: ([^;\"]+)|font: [\d.]+px ([^;\"]+)", svg)) <= {
        ("var(--font)", ""),
        ("", "var(--font)"),
    }
    texts = [text.text for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")]
    assert "20" in texts  # text, not outlines


def test_ids_are_its_own_and_lead_to_what_is_there() -> None:
    one, other = (chart(name, [Line("one", series(1, 2, 3), mark=(10, 2.0))]) for name in ("c1", "c2"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert not ids[0] & ids[1]
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(x, "") for x in own} | {
            ("", x) for x in own
        }
        assert "<style" not in svg  # which would be the whole page's
        assert "xlink:" not in svg


def test_the_same_values_make_the_same_bytes_and_leave_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    assert chart("c1", [Line("one", series(1, 2))]) == chart("c1", [Line("one", series(1, 2))])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("values", [(1.0,), (0.0, 0.0), (1e-9, 2e-9), (1e300, -1e300), (5.0, 5.0, 5.0)])
def test_every_curve_can_be_drawn(values: tuple[float, ...]) -> None:
    ElementTree.fromstring(chart("c1", [Line("one", series(*values))]))


def test_a_curve_with_intervals_has_a_band_as_high_as_they_are() -> None:
    curve = series(1, 2, 3)
    plain = chart("c1", [Line("one", curve)])
    banded = chart("c1", [Line("one", curve, band=(series(0, 1, 2), series(8, 9, 10)))])
    assert "opacity: 0.12" in banded
    assert "opacity: 0.12" not in plain
    ticks = [{float(tick) for tick in re.findall(r">(\d+)</text>", svg)} for svg in (plain, banded)]
    assert max(ticks[1] - ticks[0]) in (8, 9, 10)  # the axis goes up to its end


def test_what_it_shows_is_said_in_words() -> None:
    said = words([Line("KID", series(3, 1, 2), mark=(10, 1.0)), Line("FID", series(4))])
    assert said == "KID: 3 at step 0, 2 at step 20, between 1 and 3, best 1 at step 10; FID: 4 at step 0"


def test_steps_are_short() -> None:
    assert [short(step) for step in (0, 950, 1000, 12_500, 2e6)] == ["0", "950", "1k", "12.5k", "2M"]
