"""The best generators of a run: by which figures they are chosen, and the record of which they are.

RUN/best.json is {"<metric>": {"step", "value", "better", "file", "figures", "judge", "chosen_on"}, …}: the file
relative to the run, all figures of that evaluation, and what the figure hangs on, the judge by its SHA-256 and the
pictures by their number and a digest of their names. Figures of another judge or of other pictures do not compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, UsageError
from cyclegan.system.files import write_json

FILE = "best.json"
LOWER, HIGHER = "lower", "higher"

Record = dict[str, dict[str, Any]]


def _ways(directions: Sequence[str]) -> tuple[str, ...]:
    return tuple(directions)


def _there_and_back(directions: Sequence[str]) -> tuple[str, ...]:
    return tuple(way[0] for way in directions if way[::-1] in directions)


def _targets(directions: Sequence[str]) -> tuple[str, ...]:
    return tuple(way[1] for way in directions)


@dataclass(frozen=True)
class Stem:
    """A figure that can choose: which end is better, and which endings it has for generators in some directions."""

    better: str
    endings: Callable[[Sequence[str]], tuple[str, ...]]


# What has an end that is better. The other figures have a right value somewhere between, which depends on the data
# (diversity, luminance correlation, checkerboard), or say nothing alone (a bad cycle has a noise ratio of 1).
SELECTABLE: dict[str, Stem] = {
    "kid": Stem(LOWER, _ways),
    "fid": Stem(LOWER, _ways),
    "judge": Stem(HIGHER, _ways),
    "cycle_l1": Stem(LOWER, _there_and_back),
    "cycle_noise_l1": Stem(LOWER, _there_and_back),
    "cycle_ssim": Stem(HIGHER, _there_and_back),
    "identity_l1": Stem(LOWER, _targets),
}


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


def parse_criteria(text: str, directions: Sequence[str]) -> tuple[Criterion, ...]:
    """What `--metric` names, in its order: figures (`kid_ab`), or stems (`kid`) for the mean over their endings.

    `directions` are those that there are generators for. Raises `UsageError` for what cannot choose.
    """
    known = {
        name: Criterion(name, figures, stem.better)
        for key, stem in SELECTABLE.items()
        for name, figures in _named(key, stem.endings(directions)).items()
    }
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


def _named(stem: str, endings: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    figures = tuple(f"{stem}_{ending}" for ending in endings)
    return {stem: figures, **{name: (name,) for name in figures}} if figures else {}
