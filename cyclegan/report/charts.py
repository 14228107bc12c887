"""Charts of a page: groups of curves, as SVG with the colours and fonts of the page around it.

matplotlib knows no CSS variables, so a chart is drawn in placeholder colours, which are then replaced. Hence it is
readable in dark mode as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cyclegan.figures import EQUILIBRIUM, FIGURES, in_words, key_of, name_of
from cyclegan.report.run_record import RunRecord, mapping, number_of
from cyclegan.report.series import Series
from cyclegan.report.tables import CURVES, ENDS

SERIES = 8  # colours; a ninth curve has that of the first
_INK, _FAINT = "#000001", "#000002"
_VARIABLES = {_INK: "var(--ink-2)", _FAINT: "var(--line)"}
_VARIABLES |= {f"#0000{10 + number}": f"var(--series-{number})" for number in range(SERIES)}
_SIZE = (4.6, 2.35)  # inches of 72 pixels: about as wide as a chart is shown, so that its text keeps its size
_PLACE = (0.125, 0.13, 0.86, 0.84)  # of the axes in it; matplotlib's own layout would take most of the time

_OTHERS = 12  # charts of figures that belong to no group
_ELSEWHERE = ("alarm_figure/", "evaluation/", "interval/")  # prefixes of figures that other parts of the page show

_MACHINE = (
    ("speed/images_per_second", "Pictures per second", "{:.3g}"),
    ("speed/data_wait", "Waiting for pictures", "{:.1%}"),
    ("memory/peak_gib", "Peak memory, GiB", "{:.3g}"),
    ("health/skipped_steps", "Steps skipped", "{:.0f}"),
    ("health/unreadable_pictures", "Unreadable pictures", "{:.0f}"),
)


@dataclass(frozen=True)
class Line:
    """A curve of a chart; `mark` is the step and value of a highlighted point."""

    label: str
    series: Series
    colour: int = 0
    dashed: bool = False
    mark: tuple[int, float] | None = None
    band: tuple[Series, Series] | None = None  # the ends of its intervals


@dataclass(frozen=True)
class Chart:
    """A chart in a page: its SVG, and the same in words."""

    title: str
    svg: Markup
    words: str
    legend: Sequence[Mapping[str, Any]]
    hint: str
    level_words: str


@dataclass(frozen=True)
class Group:
    """Charts under one heading."""

    title: str
    charts: list[Chart]
    words: str = ""


class Drawing:
    """Factory of charts whose ids are unique in the page."""

    def __init__(self) -> None:
        self._count = 0

    def chart(
        self,
        title: str,
        lines: Sequence[Line],
        *,
        form: str = "{:.3g}",
        floor: float | None = None,
        level: float | None = None,
        hint: str = "",
    ) -> list[Chart]:
        """Draw the lines that have values: a list of one chart, or an empty one if no line has any."""
        filled = [line for line in lines if line.series]
        if not filled:
            return []
        self._count += 1
        svg = chart(f"c{self._count}", filled, level=level, form=form, floor=floor)
        legend = [{"label": line.label, "colour": line.colour % SERIES, "dashed": line.dashed} for line in filled]
        level_words = ""
        if level is not None:
            level_words = f"Dashed: the equilibrium, {level:g}, where real and fake cannot be told apart."
        # The only text in the SVG is numbers, which matplotlib has escaped
        return [Chart(title, Markup(svg), words(filled, form), legend, hint, level_words)]


def run_groups(record: RunRecord) -> list[Group]:
    """Groups of charts of one run, without empty ones."""
    draw, used = Drawing(), set[str]()

    def line(name: str, label: str, colour: int = 0, **more: Any) -> Line:
        used.add(name)
        return Line(label, record.series[name], colour, **more)

    kept = [name for name in record.best if _mark(record, name) is not None]
    best = f"Ringed: the best by {', '.join(kept)}, whose generators were kept." if kept else ""
    quality = list(_evaluation(draw, record, line))
    if any(name.startswith("interval/") for name in record.series):
        best = f"Shaded: 95 % intervals. {best}".strip()
    groups = [
        Group("How good", quality, best),
        Group("The game", list(_game(draw, record, line))),
        Group("The machine", list(_machine(draw, line))),
    ]
    rest = [name for name, series in list(record.series.items()) if series and name not in used]
    rest = [name for name in rest if not name.startswith(_ELSEWHERE)]
    others = [it for name in rest[:_OTHERS] for it in draw.chart(name, [line(name, name)])]
    groups.append(Group("Other figures", others, f"And {len(rest) - _OTHERS} more." * (len(rest) > _OTHERS)))
    return [group for group in groups if group.charts]


def comparison_groups(records: Sequence[RunRecord], labels: Sequence[str], colours: Sequence[int]) -> list[Group]:
    """The same curves of several runs on common axes, in the numbered colours."""
    draw = Drawing()

    def lines(name: str) -> list[Line]:
        return [
            Line(label, record.series[name], colour, mark=_mark(record, name.removeprefix("evaluation/")))
            for record, label, colour in zip(records, labels, colours, strict=True)
            if name in record.series
        ]

    quality = [
        it
        for name in CURVES
        for direction in dict.fromkeys(direction for record in records for direction in record.directions)
        for it in draw.chart(
            f"{FIGURES[name].title}, {in_words(direction)}",
            lines(f"evaluation/{key_of(name, direction)}"),
            **_presentation(name),
        )
    ]
    losses = sorted({name for record in records for name in record.series if name.startswith("loss/")})
    game = [it for name in losses for it in draw.chart(_loss_title(name), lines(name))]
    game += [
        it
        for domain in sorted({domain for record in records for domain in record.domains})
        for kind in ("real", "fake")
        for it in draw.chart(f"Verdicts on {kind} pictures of {domain.upper()}", lines(f"scores/{domain}/{kind}"))
    ]
    machine = [it for name, title, form in _MACHINE[:3] for it in draw.chart(title, lines(name), form=form, floor=0)]
    groups = [Group("How good", quality), Group("The game", game), Group("The machine", machine)]
    return [group for group in groups if group.charts]


_MakeLine = Callable[..., Line]


def _evaluation(draw: Drawing, record: RunRecord, line: _MakeLine) -> Iterator[Chart]:
    for name in CURVES:
        lines = []
        for colour, direction in enumerate(record.directions):
            key, label = key_of(name, direction), in_words(direction, record.domains, "→")
            low, high = (record.series.get(f"interval/{key}_{end}") for end in ENDS)
            band = (low, high) if low and high else None
            lines.append(line(f"evaluation/{key}", label, colour, mark=_mark(record, key), band=band))
        yield from draw.chart(FIGURES[name].title, lines, **_presentation(name))


def _game(draw: Drawing, record: RunRecord, line: _MakeLine) -> Iterator[Chart]:
    names = record.domains
    older_default = EQUILIBRIUM.get(str(record.config.get("adversarial")))  # from before meta.json named it
    level = number_of(record.meta.get("equilibrium", older_default))
    for domain, name in names.items():
        lines = [line(f"scores/{domain}/real", "real", 2), line(f"scores/{domain}/fake", "fake", 3)]
        yield from draw.chart(f"Verdicts on {name}", lines, level=level)
    losses = [name for name in record.series if name.startswith("loss/")]
    domain_suffix = rf"_[{''.join(names)}]\Z"
    for kind in sorted({re.sub(domain_suffix, "", name) for name in losses}):
        lines = [line(f"{kind}_{domain}", names[domain], colour) for colour, domain in enumerate(names)]
        lines += [line(kind, kind)] if kind in losses else []
        yield from draw.chart(_loss_title(kind), lines)
    for title, name in (("Gradient norms", "gradient_norm"), ("Learning rates", "learning_rate")):
        often_equal = name == "learning_rate"
        lines = [
            line(f"{name}/generators", "generators", 0),
            line(f"{name}/discriminators", "discriminators", 1, dashed=often_equal),
        ]
        yield from draw.chart(title, lines, floor=0)


def _machine(draw: Drawing, line: _MakeLine) -> Iterator[Chart]:
    for name, title, form in _MACHINE:
        curve = line(name, title)
        if not name.startswith("health/") or curve.series.points()[1].any():  # a curve of zeros is left out
            yield from draw.chart(title, [curve], form=form, floor=0)


def _mark(record: RunRecord, name: str) -> tuple[int, float] | None:
    """Step and value of the best point of a curve: by its own metric, or by the mean that it is part of (`kid`)."""
    entry = mapping(record.best.get(name) or record.best.get(name_of(name)))
    step, value = number_of(entry.get("step")), number_of(mapping(entry.get("figures")).get(name, entry.get("value")))
    return None if step is None or value is None else (int(step), value)


def _presentation(name: str) -> dict[str, Any]:
    """Format of the axis and hint of the chart of a figure."""
    figure = FIGURES[name]
    hint = f"{figure.better} is better" if figure.better else ""
    return {"form": "{:.0%}" if "%" in figure.form else "{:.3g}", "hint": hint}


def _loss_title(name: str) -> str:
    return name.removeprefix("loss/").replace("_", " ").capitalize() + " loss"


def chart(
    name: str, lines: Sequence[Line], *, level: float | None = None, form: str = "{:.3g}", floor: float | None = None
) -> str:
    """Draw curves on common axes as SVG for a page that defines --ink-2, --line, --series-0, … and --font.

    A curve with intervals has a band of them, one of more values than columns a band from its least to its greatest
    values. `level` is marked by a dashed line, `form` is the format of values, `floor` the lower end of the axis. All
    ids start with `name`, which is unique in the page. No state of matplotlib is changed.
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
    """Description of a chart in words, for screen readers."""
    parts = []
    for line in lines:
        steps, mean, low, high = line.series.points()
        start, end, least, most = (form.format(value) for value in (mean[0], mean[-1], np.min(low), np.max(high)))
        part = f"{line.label}: {start} at step {steps[0]:.0f}"
        if len(steps) > 1:
            part += f", {end} at step {steps[-1]:.0f}, between {least} and {most}"
        if line.mark is not None:
            part += f", best {form.format(line.mark[1])} at step {line.mark[0]}"
        parts.append(part)
    return "; ".join(parts)


def short(step: float) -> str:
    """Short text of a step: 12000 -> `12k`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:.6g}{letter}"
    return f"{step:.6g}"


def _draw(axes: matplotlib.axes.Axes, line: Line) -> None:
    steps, mean, low, high = line.series.points()
    colour = f"#0000{10 + line.colour % SERIES}"
    if line.band is not None:
        (there, lower, _, _), (back, upper, _, _) = (series.points() for series in line.band)
        axes.fill(np.r_[there, back[::-1]], np.r_[lower, upper[::-1]], color=colour, alpha=0.12, linewidth=0)
    elif (high > low).any():
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    marker = "o" if len(steps) <= 40 else ""
    dashes = "--" if line.dashed else "-"
    axes.plot(steps, mean, dashes, color=colour, linewidth=1.6, marker=marker, markersize=2.6, solid_joinstyle="round")
    if line.mark is not None:
        axes.plot(*line.mark, "o", markersize=9, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.8)


def _fitted(svg: str, name: str) -> str:
    """Reduce an SVG to its `svg` element, with a flexible width, the page's colours and fonts, and unique ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)  # a style affects the page
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)  # as older matplotlib writes it
    svg = svg.replace("xlink:href", "href")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
