"""Figures of a run in columns and rows, and the verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan.directions import Direction
from cyclegan.figures import FIGURES, HIGHER, LOWER, Figure, domain_name, key_of
from cyclegan.report.run_record import RunRecord, mapping, number_of

CURVES = ("judge", "kid", "fid", "cycle_l1", "cycle_noise_ratio", "luminance_correlation", "diversity", "identity_l1")


@dataclass(frozen=True)
class Column:
    """Figures of one set of generators, and what to call it."""

    title: str
    step: int | None
    figures: Mapping[str, Any]
    source: str  # where the figures come from, in words
    protocol: Mapping[str, Any]
    metric: str | None = None  # by which these generators were kept, None of the last ones
    value: float | None = None  # of that metric


def written(name: str, value: Any) -> str:
    """A figure as it is shown; an empty text for one that is not there."""
    number = number_of(value)
    if number is None:
        return ""
    return (FIGURES[name].written(number) if name in FIGURES else f"{number:.4g}").replace("-", "−")


def columns(record: RunRecord) -> list[Column]:
    """The last generators and the best ones, with all that is known of each; the last first.

    Figures of `cyclegan evaluate` where there are any, else those of the evaluations in training.
    """
    found = []
    measured = mapping(record.evaluation.get("metrics"))
    protocol = mapping(record.evaluation.get("protocol"))
    if measured:
        step = mapping(protocol.get("checkpoint")).get("step")
        found.append(Column("Last", _step(step), measured, "cyclegan evaluate", protocol))
    elif newest := {
        name.removeprefix("evaluation/"): at for name, at in record.newest.items() if name.startswith("evaluation/")
    }:
        last = max(step for step, _ in newest.values())
        of_last = {name: value for name, (step, value) in newest.items() if step == last}
        conditions = next((_conditions(mapping(entry)) for entry in record.best.values()), {})
        found.append(Column("Last", last, of_last, "in training", conditions))
    evaluated = mapping(record.evaluation.get("best"))
    for metric, entry in record.best.items():
        entry, again = mapping(entry), mapping(evaluated.get(metric))
        figures = mapping(again.get("metrics")) or mapping(entry.get("figures"))
        source = "cyclegan evaluate" if again.get("metrics") else "in training"
        title, step = f"Best by {metric}", _step(entry.get("step"))
        value = number_of(entry.get("value"))
        how = mapping(again.get("protocol")) or _conditions(entry)
        found.append(Column(title, step, figures, source, how, metric, value))
    return found


def verdicts(figures: Mapping[str, Any], record: RunRecord) -> Iterator[dict[str, Any]]:
    """For each direction that the judge has spoken of: the shares, between 0 and 1, and who is who."""
    for direction in record.directions:
        keys = (key_of(f"judge{part}", direction) for part in ("", "_real", "_source"))
        share, real, untranslated = (number_of(figures.get(key)) for key in keys)
        if share is not None:
            yield {
                "direction": direction,
                "source": domain_name(direction.source, record.domains),
                "target": domain_name(direction.target, record.domains),
                "share": share,
                "real": real,
                "untranslated": untranslated,
            }


def table(direction: Direction, found: list[Column]) -> list[dict[str, Any]]:
    """The rows of one direction: label, hint, a cell for each column, and the same of real and untranslated pictures.

    The best of several cells is marked where one end is better and all were measured in the same way.
    """
    alike = len({column.source for column in found}) == 1
    beside = found[0].figures if found else {}
    rows = []
    for name in _names(direction, found):
        values = [number_of(column.figures.get(key_of(name, direction))) for column in found]
        if all(value is None for value in values):
            continue
        figure = FIGURES.get(name, Figure(name.replace("_", " "), "{:.4g}"))
        there = [value for value in values if value is not None]
        ranks = alike and len(set(there)) > 1
        best = {LOWER: min, HIGHER: max}[figure.better](there) if figure.better and ranks else None
        rows.append(
            {
                "label": figure.title if name in FIGURES else figure.label,
                "hint": figure.hint,
                "cells": [
                    (_with_spread(name, column.figures, direction), value is not None and value == best)
                    for column, value in zip(found, values, strict=True)
                ],
                "real": written(name, beside.get(key_of(f"{name}_real", direction))),
                "untranslated": written(name, beside.get(key_of(f"{name}_source", direction))),
            }
        )
    return rows


def _names(direction: Direction, found: list[Column]) -> Iterator[str]:
    """The figures that are shown, then those of the direction that nothing is known of."""
    spreads = {figure.spread for figure in FIGURES.values()}
    yield from (name for name, figure in FIGURES.items() if figure.shown)
    for key in dict.fromkeys(key for column in found for key in column.figures):
        name = key.removesuffix(f"_{direction.key}")
        if name != key and name not in {*FIGURES, *spreads} and not name.endswith(("_real", "_source")):
            yield name


def _conditions(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol of the figures in best.json."""
    pictures = {f"held out {domain.upper()}": it for domain, it in mapping(entry.get("chosen_on")).items()}
    return {"judge": {"sha256": entry.get("judge")}, "pictures": pictures}


def _with_spread(name: str, figures: Mapping[str, Any], direction: Direction) -> str:
    """A figure with its standard deviation where it has one."""
    text = written(name, figures.get(key_of(name, direction)))
    spread = number_of(figures.get(key_of(FIGURES[name].spread, direction))) if name in FIGURES else None
    return f"{text} ± {written(name, spread)}" if text and spread is not None else text


def _step(value: Any) -> int | None:
    number = number_of(value)
    return None if number is None else int(number)
