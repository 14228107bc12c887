"""Curves as SVG that takes its colours and its type from the page it stands in, so that it is readable in the dark.

matplotlib knows no variables of CSS. So a chart is drawn with colours that stand for them, and those are replaced.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cyclegan.report.series import Series

SERIES = 8  # colours there are; a ninth curve begins again with the first
_INK, _FAINT = "#000001", "#000002"
_VARIABLES = {_INK: "var(--ink-2)", _FAINT: "var(--line)"}
_VARIABLES |= {f"#0000{10 + number}": f"var(--series-{number})" for number in range(SERIES)}
_SIZE = (4.6, 2.35)  # inches of 72 pixels: about as wide as a chart is shown, so that its type keeps its size
_PLACE = (0.125, 0.13, 0.86, 0.84)  # of the axes in it: finding one for each chart would take most of the time


@dataclass(frozen=True)
class Line:
    """A curve of a chart; `mark` is a point of it to be seen, step and value."""

    label: str
    series: Series
    colour: int = 0
    dashed: bool = False
    mark: tuple[int, float] | None = None


def chart(
    name: str, lines: Sequence[Line], *, level: float | None = None, form: str = "{:.3g}", floor: float | None = None
) -> str:
    """The SVG of some curves on common axes, for a page that says --ink-2, --line, --series-0, … and --font.

    A curve of more values than columns has a band from its least to its greatest values. `level` is a value to be
    seen, dashed; `form` writes the values; `floor` is what the axis does not go below. `name`, unique in its page, is
    the start of all its ids. No state of matplotlib is changed.
    """
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "font.size": 11}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_SIZE)
        axes = figure.add_axes(_PLACE)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(_FAINT)
        axes.grid(axis="y", color=_FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK, length=0, pad=5)
        if level is not None:
            axes.axhline(level, color=_INK, linewidth=1, dashes=(4, 3))
        for line in lines:
            _draw(axes, line)
        axes.margins(x=0.015, y=0.08)
        if floor is not None:
            axes.set_ylim(bottom=floor)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: short(value)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: form.format(value).replace("-", "−")))
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    return _fitted(stream.getvalue(), name)


def words(lines: Sequence[Line], form: str = "{:.3g}") -> str:
    """What a chart shows, for people who do not see it."""
    return "; ".join(_words(line, form) for line in lines)


def short(step: float) -> str:
    """12000 -> `12k`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:.6g}{letter}"
    return f"{step:.6g}"


def _draw(axes: matplotlib.axes.Axes, line: Line) -> None:
    steps, mean, low, high = line.series.points()
    colour = f"#0000{10 + line.colour % SERIES}"
    if (high > low).any():
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    marker = "o" if len(steps) <= 40 else ""
    dashes = "--" if line.dashed else "-"
    axes.plot(steps, mean, dashes, color=colour, linewidth=1.6, marker=marker, markersize=2.6, solid_joinstyle="round")
    if line.mark is not None:
        axes.plot(*line.mark, "o", markersize=9, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.8)


def _words(line: Line, form: str) -> str:
    steps, mean, low, high = line.series.points()
    start, end = (form.format(value) for value in (mean[0], mean[-1]))
    said = f"{line.label}: {start} at step {steps[0]:.0f}"
    if len(steps) > 1:
        said += f", {end} at step {steps[-1]:.0f}, between {form.format(np.min(low))} and {form.format(np.max(high))}"
    if line.mark is not None:
        said += f", best {form.format(line.mark[1])} at step {line.mark[0]}"
    return said


def _fitted(svg: str, name: str) -> str:
    """The `svg` element alone, as wide as its place, with the page's colours and type, and ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)  # a style is the whole page's
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)  # as older matplotlib writes it
    svg = svg.replace("xlink:href", "href")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
