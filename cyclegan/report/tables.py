"""Figures of a run in columns and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cyclegan.directions import Direction
from cyclegan.figures import FIGURES, HIGHER, LOWER, Figure, key_of
from cyclegan.report.run_record import RunRecord, mapping, nested, number_of, whole

MAIN = ("judge", "neither", "kid", "fid", "cycle_l1", "cycle_noise_ratio")  # figures of every table, in its order
ENDS = ("low", "high")  # of an interval, in the journal
_TITLES = {"as named": "named checkpoint"}  # of measured files
CURVES = (*MAIN, "luminance_correlation", "diversity", "identity_l1")


@dataclass(frozen=True)
class Column:
    """Figures of one set of generators, under a title."""

    title: str
    step: int | None
    figures: Mapping[str, Any]
    source: str  # where the figures come from, in words
    protocol: Mapping[str, Any]
    metric: str | None = None  # by which these generators were kept; None for the last ones
    value: float | None = None  # of that metric
    intervals: Mapping[str, Any] = field(default_factory=dict)  # [low, high] by key; of older runs there are none
    evaluations: int | None = None  # that these generators were chosen from, if that is recorded
    on_these: bool = False  # True if they were chosen on the very pictures that measure them


def written(name: str, value: Any) -> str:
    """A figure in its format; an empty text for a missing one."""
    number = number_of(value)
    if number is None:
        return ""
    return (FIGURES[name].written(number) if name in FIGURES else f"{number:.4g}").replace("-", "−")


def columns(record: RunRecord) -> list[Column]:
    """The last generators, then the best ones.

    Figures are those of `cyclegan evaluate` if there are any, else those of the evaluations in training.
    """
    measured = {column.metric: column for column in measured_columns(record.evaluation)}
    found = [measured[None]] if None in measured else []
    newest = {
        name.removeprefix("evaluation/"): at for name, at in record.newest.items() if name.startswith("evaluation/")
    }
    if newest and not found:
        last = max(step for step, _ in newest.values())
        of_last = {name: value for name, (step, value) in newest.items() if step == last}
        conditions = protocol_in_training(record)
        low_high = {key: [_newest(record, f"interval/{key}_{end}", last) for end in ENDS] for key in of_last}
        found.append(Column("Last", last, of_last, "in training", conditions, intervals=low_high))
    for metric, entry in record.best.items():
        column = measured.get(metric) or _best_in_training(metric, mapping(entry))
        step, value, count = (mapping(entry).get(name) for name in ("step", "value", "evaluations"))
        found.append(replace(column, step=whole(step), value=number_of(value), evaluations=whole(count)))
    return found


def measured_columns(evaluation: Mapping[str, Any]) -> list[Column]:
    """Columns of an evaluation as `cyclegan evaluate` stores it: the named or the last generators, then the best."""
    found = []
    for metric, part in ((None, evaluation), *mapping(evaluation.get("best")).items()):
        figures, intervals, protocol = (mapping(mapping(part).get(key)) for key in ("metrics", "intervals", "protocol"))
        checkpoint = mapping(protocol.get("checkpoint"))
        title = f"Best by {metric}" if metric else _TITLES.get(which := str(checkpoint.get("which", "last")), which)
        column = Column(
            title[:1].upper() + title[1:],
            whole(checkpoint.get("step")),
            figures,
            "cyclegan evaluate",
            protocol,
            metric,
            intervals=intervals,
            evaluations=whole(nested(checkpoint, "in_training", "evaluations")),
            on_these=nested(checkpoint, "chosen_on", "these") is True,
        )
        found += [column] if figures else []
    return found


def protocol_in_training(record: RunRecord) -> dict[str, Any]:
    """Protocol of the evaluations in training, as far as best.json has it."""
    return next((_conditions(mapping(entry)) for entry in record.best.values()), {})


def table(direction: Direction, found: list[Column]) -> list[dict[str, Any]]:
    """Rows of one direction: label, hint, a cell per column, and the figure of real and of untranslated pictures.

    The best of several cells is marked if the figure has a better end and all were measured in the same way.
    """
    alike = len({column.source for column in found}) == 1
    references = found[0].figures if found else {}
    rows = []
    for name in _names(direction, found):
        values = [number_of(column.figures.get(key_of(name, direction))) for column in found]
        if all(value is None for value in values):
            continue
        figure = FIGURES.get(name, Figure(name.replace("_", " "), "{:.4g}"))
        present = [value for value in values if value is not None]
        ranks = alike and len(set(present)) > 1
        best = {LOWER: min, HIGHER: max}[figure.better](present) if figure.better and ranks else None
        rows.append(
            {
                "label": figure.title if name in FIGURES else figure.label,
                "hint": figure.hint,
                "cells": [
                    (_with_interval(name, column, direction), value is not None and value == best)
                    for column, value in zip(found, values, strict=True)
                ],
                "real": written(name, references.get(key_of(f"{name}_real", direction))),
                "untranslated": written(name, references.get(key_of(f"{name}_source", direction))),
            }
        )
    return rows


def _names(direction: Direction, found: list[Column]) -> Iterator[str]:
    """The known figures that are shown, then the unknown ones of the direction."""
    spreads = {figure.spread for figure in FIGURES.values()}
    yield from (name for name, figure in FIGURES.items() if figure.shown)
    for key in dict.fromkeys(key for column in found for key in column.figures):
        name = key.removesuffix(f"_{direction.key}")
        if name != key and name not in {*FIGURES, *spreads} and not name.endswith(("_real", "_source")):
            yield name


def _best_in_training(metric: str, entry: Mapping[str, Any]) -> Column:
    """Column of the best generators as their evaluation in training measured them."""
    figures, intervals = mapping(entry.get("figures")), mapping(entry.get("intervals"))
    conditions = _conditions(entry)
    return Column(
        f"Best by {metric}", None, figures, "in training", conditions, metric, intervals=intervals, on_these=True
    )


def _conditions(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Protocol of the figures of an entry of best.json; older ones name no features, which were the judge's."""
    pictures = {f"held out {domain.upper()}": it for domain, it in mapping(entry.get("chosen_on")).items()}
    judge = entry.get("judge")
    return {"judge": {"sha256": judge}, "features": {"sha256": entry.get("features", judge)}, "pictures": pictures}


def _newest(record: RunRecord, name: str, step: int) -> float | None:
    """Value of the last row with this name if it is of `step`."""
    at, value = record.newest.get(name, (None, None))
    return value if at == step else None


def _with_interval(name: str, column: Column, direction: Direction) -> str:
    """A figure with its interval, or of an older evaluation with its standard deviation, if it has one."""
    key = key_of(name, direction)
    text = written(name, column.figures.get(key))
    if not text or name not in FIGURES:
        return text
    ends = interval_of(column.intervals.get(key))
    if ends is not None:
        return f"{text} ({FIGURES[name].interval(*ends).replace('-', '−')})"
    spread = number_of(column.figures.get(key_of(FIGURES[name].spread, direction)))
    return text if spread is None else f"{text} ± {written(name, spread)}"


def interval_of(ends: Any) -> tuple[float, float] | None:
    """`ends` as an interval if they are two finite numbers, else None."""
    found = [number_of(end) for end in ends] if isinstance(ends, list) else []
    return (found[0], found[1]) if len(found) == 2 and found[0] is not None and found[1] is not None else None
