"""The best generators of a run: by which figures they are chosen, and the record of which they are.

RUN/best.json is {"<metric>": {"step", "value", "better", "file", "figures", "judge", "chosen_on"}, …}: the file
relative to the run, all figures of that evaluation, and what the figure hangs on, the judge by its SHA-256 and the
pictures by their number and a digest of their names. Figures of another judge or of other pictures do not compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.directions import NOISE, Direction
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import FIGURES, HIGHER, LOWER, key_of
from cyclegan.system.files import write_json

FILE = "best.json"

# What training gives the metrics, beside the inputs and the way back of a direction
_GIVEN = frozenset({"real", "training", "extractor", "classifier", "forward"})

Record = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Criterion:
    """One name of `--metric`: the figures whose mean it is, and which end is better."""

    name: str
    figures: tuple[str, ...]
    better: str

    def value(self, figures: Mapping[str, float]) -> float:
        """The mean of its figures; NaN where one is missing or not finite."""
        found = [figures.get(name, math.nan) for name in self.figures]
        return sum(found) / len(found) if all(map(math.isfinite, found)) else math.nan

    def improves(self, value: float, on: float | None) -> bool:
        """Whether `value` is better than `on`, None being no value yet. NaN never is."""
        if not math.isfinite(value):
            return False
        return on is None or {LOWER: value < on, HIGHER: value > on}[self.better]


def selectable(directions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The figures that the best generators can be chosen by, those with a better end: name -> keys in a record.

    They are of metrics that training can measure in `directions`, those that there are generators for.
    """
    found: dict[str, list[str]] = {}
    for metric in METRICS.values():
        for direction in map(Direction.parse, directions):
            given = _GIVEN | ({"source"} if direction.source != NOISE else set())
            given |= {"back"} if direction.reverse is not None and direction.reverse.key in directions else set()
            for name in metric.gives if metric.needs <= given else ():
                if name in FIGURES and FIGURES[name].better:
                    found.setdefault(name, []).append(key_of(name, direction))
    return {name: tuple(keys) for name, keys in found.items()}


def parse_criteria(text: str, directions: Sequence[str]) -> tuple[Criterion, ...]:
    """The criteria that `--metric` names, in its order.

    A key (`kid_ab`) is one figure; a stem (`kid`) is the mean over directions or domains. `directions` are those
    that there are generators for. Raises `UsageError` for what cannot choose.
    """
    known: dict[str, Criterion] = {}
    for figure, keys in selectable(directions).items():
        better = FIGURES[figure].better
        assert better is not None, figure
        for name, of in ((figure, keys), *((key, (key,)) for key in keys)):
            known[name] = Criterion(name, of, better)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--metric names nothing; use one or more of {', '.join(sorted(known))}")
    for name in names:
        if name not in known:
            raise UsageError(
                f"--metric: the best generators cannot be chosen by {name!r}; use one or more of "
                f"{', '.join(sorted(known))}"
            )
    return tuple(known[name] for name in names)


def read_best(run: Path) -> Record:
    """RUN/best.json, empty where there is none; `CycleganError` for a damaged one."""
    path = run / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sound = all({"step", "value", "better", "file"} <= entry.keys() for entry in record.values())
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, RecursionError):  # not JSON, not even UTF-8, or no record of records
        sound = False
    if not sound:
        raise CycleganError(
            f"{path} is damaged; restore it from a copy, or delete it: the generators that it told of stay, and the "
            "best are chosen anew"
        )
    result: Record = record
    return result


def write_best(run: Path, record: Record) -> None:
    """Write RUN/best.json; `OSError` where that cannot be, with the old one intact."""
    write_json(run / FILE, record)
