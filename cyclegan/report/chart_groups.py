"""Groups of curves on a page, of one run or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cyclegan.figures import EQUILIBRIUM, FIGURES, in_words, key_of, name_of
from cyclegan.report.charts import Line, chart, words
from cyclegan.report.run_record import RunRecord, mapping, number_of
from cyclegan.report.tables import CURVES

_OTHERS = 12  # charts of figures that belong to no group
_ELSEWHERE = ("alarm_figure/", "evaluation/")  # prefixes of figures that other parts of the page show

_MACHINE = (
    ("speed/images_per_second", "Pictures per second", "{:.3g}"),
    ("speed/data_wait", "Waiting for pictures", "{:.1%}"),
    ("memory/peak_gib", "Peak memory, GiB", "{:.3g}"),
    ("health/skipped_steps", "Steps skipped", "{:.0f}"),
    ("health/unreadable_pictures", "Unreadable pictures", "{:.0f}"),
)


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
        level_words: str = "",
    ) -> list[Chart]:
        """Draw the lines that have values: a list of one chart, or an empty one if no line has any."""
        filled = [line for line in lines if line.series]
        if not filled:
            return []
        self._count += 1
        svg = chart(f"c{self._count}", filled, level=level, form=form, floor=floor)
        legend = [{"label": line.label, "colour": line.colour % 8, "dashed": line.dashed} for line in filled]
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
    groups = [
        Group("How good", list(_evaluation(draw, record, line)), best),
        Group("The game", list(_game(draw, record, line))),
        Group("The machine", list(_machine(draw, line))),
    ]
    left = [name for name, series in list(record.series.items()) if series and name not in used]
    left = [name for name in left if not name.startswith(_ELSEWHERE)]
    others = [it for name in left[:_OTHERS] for it in draw.chart(name, [line(name, name)])]
    groups.append(Group("Other figures", others, f"And {len(left) - _OTHERS} more." * (len(left) > _OTHERS)))
    return [group for group in groups if group.charts]


def comparison_groups(records: Sequence[RunRecord], labels: Sequence[str]) -> list[Group]:
    """The same curves of several runs on common axes, a colour for each run."""
    draw = Drawing()

    def lines(name: str) -> list[Line]:
        return [
            Line(label, record.series[name], number, mark=_mark(record, name.removeprefix("evaluation/")))
            for number, (record, label) in enumerate(zip(records, labels, strict=True))
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
            lines.append(line(f"evaluation/{key}", label, colour, mark=_mark(record, key)))
        yield from draw.chart(FIGURES[name].title, lines, **_presentation(name))


def _game(draw: Drawing, record: RunRecord, line: _MakeLine) -> Iterator[Chart]:
    names = record.domains
    of_older = EQUILIBRIUM.get(str(record.config.get("adversarial")))  # from before meta.json named it
    level = number_of(record.meta.get("equilibrium", of_older))
    note = "" if level is None else f"Dashed: the equilibrium, {level:g}, where real and fake cannot be told apart."
    for domain, name in names.items():
        lines = [line(f"scores/{domain}/real", "real", 2), line(f"scores/{domain}/fake", "fake", 3)]
        yield from draw.chart(f"Verdicts on {name}", lines, level=level, level_words=note)
    losses = [name for name in record.series if name.startswith("loss/")]
    for kind in sorted({_without_domain(name, names) for name in losses}):
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
        if not name.startswith("health/") or curve.series.points()[1].any():  # nothing but zeros needs no chart
            yield from draw.chart(title, [curve], form=form, floor=0)


def _mark(record: RunRecord, name: str) -> tuple[int, float] | None:
    """Step and value of the best point of a curve: by itself, or by the mean that it is a part of (`kid`)."""
    entry = mapping(record.best.get(name) or record.best.get(name_of(name)))
    step, value = number_of(entry.get("step")), number_of(mapping(entry.get("figures")).get(name, entry.get("value")))
    return None if step is None or value is None else (int(step), value)


def _without_domain(name: str, domains: Mapping[str, str]) -> str:
    """`loss/cycle_a` -> `loss/cycle`."""
    return next((name.removesuffix(f"_{domain}") for domain in domains if name.endswith(f"_{domain}")), name)


def _presentation(name: str) -> dict[str, Any]:
    """Format of the axis and hint of the chart of a figure."""
    figure = FIGURES[name]
    hint = f"{figure.better} is better" if figure.better else ""
    return {"form": "{:.0%}" if "%" in figure.form else "{:.3g}", "hint": hint}


def _loss_title(name: str) -> str:
    return name.removeprefix("loss/").replace("_", " ").capitalize() + " loss"
