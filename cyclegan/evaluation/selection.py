"""The best generators of a run: the criteria that choose them, and their record.

RUN/best.json is {"<metric>": {"step", "value", "better", "file", "figures", "intervals", "judge", "features",
"chosen_on", "recent", "spread", "evaluations"}, …}: the file relative to the run, all figures of that evaluation with
their intervals, what they depend on (judge and features by their SHA-256, the pictures by their number and a digest of
their names), the values of the last five evaluations of the run with their spread, and the number of evaluations that
the best was chosen from (null in a run begun before they were counted). If classes are named and choose, "classes" has
these too. Figures of different judges, features or pictures cannot be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import FIGURES, LOWER, key_of, name_of
from cyclegan.system.files import write_json

FILE = "best.json"

# Given to metrics in training, besides the inputs and the reverse generator of a direction
_GIVEN = frozenset({"real", "training", "extractor", "classifier", "perceptual", "classes", "forward"})
# What may be absent of these, and the way out for a metric that needs it
_WAYS_OUT = {
    "classes": "it counts pictures of named classes; give --classes NAMES, such as --classes zebra",
    "perceptual": "it is a distance in the features of lite0; give --features lite0",
}
NO_CLASSES = frozenset({"classes"})

Record = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Criterion:
    """A name of `--metric`: the figures that it averages, and their better end."""

    name: str
    figures: tuple[str, ...]
    better: str

    @property
    def needs(self) -> frozenset[str]:
        """Names of the fields that its metric needs."""
        figure = name_of(self.figures[0])
        return next(metric.needs for metric in METRICS.values() if figure in metric.gives)

    def value(self, figures: Mapping[str, float]) -> float:
        """The mean of its figures; NaN where one is missing or not finite."""
        found = [figures.get(name, math.nan) for name in self.figures]
        return sum(found) / len(found) if all(map(math.isfinite, found)) else math.nan

    def improves(self, value: float, best: float | None, spread: float = 0.0) -> bool:
        """True if `value` is better than `best` (None: no value yet) by more than `spread`; False for NaN."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return (best - value if self.better == LOWER else value - best) > spread


def selectable(directions: Sequence[str], absent: Set[str] = NO_CLASSES) -> dict[str, tuple[str, ...]]:
    """Figures that can choose the best generators: name -> keys in a record.

    They have a better end, and belong to metrics that training can measure with generators in `directions` unless they
    need what is `absent`: a field of `Tools`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for metric, direction in product(METRICS.values(), map(Direction.parse, directions)):
        reverse = direction.reverse is not None and direction.reverse.key in directions
        given = _GIVEN.union(() if direction.from_noise else ("source",), ("reverse",) if reverse else ()) - absent
        for name in metric.gives if metric.needs <= given else ():
            if name in FIGURES and (FIGURES[name].better or FIGURES[name].better_alone):
                found[name] = (*found.get(name, ()), key_of(name, direction))
    return found


def parse_criteria(text: str, directions: Sequence[str], absent: Set[str] = NO_CLASSES) -> tuple[Criterion, ...]:
    """Parse the criteria of `--metric`, in its order.

    A key (`kid_ab`) is one figure; a stem (`kid`) is the mean over directions or domains, unless the better end depends
    on the direction. `directions` are those with generators. Raises `UsageError` for other names, and for metrics that
    need what is `absent`.
    """
    figures = selectable(directions, absent=frozenset())
    known: dict[str, Criterion] = {}
    for figure, keys in figures.items():
        better = FIGURES[figure].better or FIGURES[figure].better_alone
        assert better is not None, figure
        means = ((figure, keys),) if FIGURES[figure].better or len(keys) == 1 else ()
        for name, of in (*means, *((key, (key,)) for key in keys)):
            known[name] = Criterion(name, of, better)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    usable = ", ".join(sorted(name for name, criterion in known.items() if not criterion.needs & absent))
    if not names:
        raise UsageError(f"--metric names nothing; use one or more of {usable}")
    for name in names:
        if name in figures and name not in known:
            raise UsageError(
                f"--metric {name}: which end is better depends on the direction; name one, such as {figures[name][0]}"
            )
        if name not in known:
            raise UsageError(f"--metric: the best generators cannot be chosen by {name!r}; use one or more of {usable}")
        for need in sorted(known[name].needs & absent):
            raise UsageError(f"--metric {name}: {_WAYS_OUT[need]}")
    return tuple(known[name] for name in names)


def read_best(run: Path) -> Record:
    """Read RUN/best.json, empty if it is missing; `CycleganError` if it is damaged."""
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
            f"{path} is damaged; restore it from a copy, or delete it: the generators that it lists stay, and the "
            "best are chosen afresh"
        )
    return cast(Record, record)


def write_best(run: Path, record: Record) -> None:
    """Write RUN/best.json; `OSError` if that fails, with the old one intact."""
    write_json(run / FILE, record)
