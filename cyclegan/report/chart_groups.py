"""Which curves a page shows, in groups, of one run or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cyclegan.figures import FIGURES, in_words, key_of, name_of
from cyclegan.report.charts import Line, chart, words
from cyclegan.report.run_record import RunRecord, mapping, number_of
from cyclegan.report.tables import CURVES

# The mean verdict at which real and fake cannot be told apart, of runs from before meta.json said it
EQUILIBRIUM = {"lsgan": 0.5, "bce": 0.5, "hinge": 0.0}
_OTHERS = 12  # charts of what no group knows
_HIDDEN = ("alarm_figure/", "evaluation/")  # told elsewhere

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
    hint: str = ""
    level_words: str = ""


@dataclass(frozen=True)
class Group:
    """Charts under one heading."""

    title: str
    charts: list[Chart]
    words: str = ""


class Drawing:
    """Makes charts whose ids are unique in the page."""

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
    ) -> Chart | None:
        """The chart of those lines that have values, None where none has."""
        there = [line for line in lines if line.series]
        if not there:
            return None
        self._count += 1
        svg = chart(f"c{self._count}", there, level=level, form=form, floor=floor)
        legend = [{"label": line.label, "colour": line.colour % 8, "dashed": line.dashed} for line in there]
        # matplotlib has escaped what is text in it, and that is numbers alone
        return Chart(title, Markup(svg), words(there, form), legend, hint, level_words)


def run_groups(record: RunRecord) -> list[Group]:
    """The groups of charts of one run that have something to show."""
    draw, names, used = Drawing(), record.domains, set[str]()

    def line(name: str, label: str, colour: int = 0, **more: Any) -> Line:
        used.add(name)
        return Line(label, record.series[name], colour, **more)

    groups = [
        Group("How good", list(_evaluation(draw, record, names, line)), _best_words(record)),
        Group("The game", list(_game(draw, record, names, line))),
        Group("The machine", list(_machine(draw, line))),
    ]
    left = [name for name, there in list(record.series.items()) if there and name not in used]
    left = [name for name in left if not name.startswith(_HIDDEN)]
    others = [draw.chart(name, [line(name, name)]) for name in left[:_OTHERS]]
    groups.append(Group("Other figures", _there(others), f"And {len(left) - _OTHERS} more." * (len(left) > _OTHERS)))
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

    good = [
        draw.chart(
            f"{FIGURES[name].title}, {in_words(direction)}",
            lines(f"evaluation/{key_of(name, direction)}"),
            form=_axis(name),
            hint=_better(name),
        )
        for name in CURVES
        for direction in dict.fromkeys(direction for record in records for direction in record.directions)
    ]
    seen = {name for record in records for name in record.series}
    game = [draw.chart(_plain(name), lines(name)) for name in sorted(seen) if name.startswith("loss/")]
    scores = [
        draw.chart(f"Verdicts on {kind} pictures of {domain.upper()}", lines(f"scores/{domain}/{kind}"))
        for domain in sorted({domain for record in records for domain in record.domains})
        for kind in ("real", "fake")
    ]
    machine = [draw.chart(title, lines(name), form=form, floor=0) for name, title, form in _MACHINE[:3]]
    groups = [
        Group("How good", _there(good)),
        Group("The game", _there([*game, *scores])),
        Group("The machine", _there(machine)),
    ]
    return [group for group in groups if group.charts]


_MakeLine = Callable[..., Line]


def _evaluation(draw: Drawing, record: RunRecord, names: Mapping[str, str], line: _MakeLine) -> Iterator[Chart]:
    for name in CURVES:
        lines = []
        for colour, direction in enumerate(record.directions):
            key = key_of(name, direction)
            label = in_words(direction, names, "→")
            lines.append(line(f"evaluation/{key}", label, colour, mark=_mark(record, key)))
        made = draw.chart(FIGURES[name].title, lines, form=_axis(name), hint=_better(name))
        if made is not None:
            yield made


def _game(draw: Drawing, record: RunRecord, names: Mapping[str, str], line: _MakeLine) -> Iterator[Chart]:
    level = _equilibrium(record)
    said = "" if level is None else f"Dashed: the equilibrium, {level:g}, where real and fake cannot be told apart."
    scores = []
    for domain in names:
        lines = [
            line(f"scores/{domain}/real", "real", 2),
            line(f"scores/{domain}/fake", "fake", 3),
        ]
        scores.append(draw.chart(f"Verdicts on {names[domain]}", lines, level=level, level_words=said))
    yield from _there(scores)
    losses = [name for name in record.series if name.startswith("loss/")]
    for kind in sorted({_without_domain(name, names) for name in losses}):
        lines = [line(f"{kind}_{domain}", names[domain], colour) for colour, domain in enumerate(names)]
        lines += [line(kind, kind)] if kind in losses else []
        yield from _there([draw.chart(_plain(kind), lines)])
    for title, name in (("Gradient norms", "gradient_norm"), ("Learning rates", "learning_rate")):
        lines = [line(f"{name}/generators", "generators", 0), line(f"{name}/discriminators", "discriminators", 1)]
        lines[1] = Line(lines[1].label, lines[1].series, 1, dashed=name == "learning_rate")  # often the same line
        yield from _there([draw.chart(title, lines, floor=0)])


def _machine(draw: Drawing, line: _MakeLine) -> Iterator[Chart]:
    for name, title, form in _MACHINE:
        it = line(name, title)
        if name.startswith("health/") and not it.series.points()[1].any():
            continue  # nothing went wrong
        yield from _there([draw.chart(title, [it], form=form, floor=0)])


def _mark(record: RunRecord, name: str) -> tuple[int, float] | None:
    """Where a curve was best: by itself, or by the mean of both directions that it is a part of (`kid`)."""
    entry = mapping(record.best.get(name) or record.best.get(name_of(name)))
    step, value = number_of(entry.get("step")), number_of(mapping(entry.get("figures")).get(name, entry.get("value")))
    return None if step is None or value is None else (int(step), value)


def _best_words(record: RunRecord) -> str:
    kept = [name for name in record.best if _mark(record, name) is not None]
    return f"Ringed: the best by {', '.join(kept)}, whose generators were kept." if kept else ""


def _equilibrium(record: RunRecord) -> float | None:
    if "equilibrium" in record.meta:
        return number_of(record.meta["equilibrium"])
    return EQUILIBRIUM.get(str(record.config.get("adversarial")))


def _without_domain(name: str, domains: Iterable[str]) -> str:
    """`loss/cycle_a` -> `loss/cycle`."""
    return next((name.removesuffix(f"_{domain}") for domain in domains if name.endswith(f"_{domain}")), name)


def _axis(name: str) -> str:
    return "{:.0%}" if "%" in FIGURES[name].form else "{:.3g}"


def _better(name: str) -> str:
    better = FIGURES[name].better
    return f"{better} is better" if better else ""


def _plain(name: str) -> str:
    return name.removeprefix("loss/").replace("_", " ").capitalize() + " loss"


def _there(charts: Sequence[Chart | None]) -> list[Chart]:
    return [it for it in charts if it is not None]
