"""What a run has written down, read as far as it can be read.

A run may have just begun, may have been made by an older version, or may have lost a file to a failing disk. What is
not there is empty; what is there and damaged is left out, and said in `notes`. Only a folder with nothing of a run in
it is an error.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cyclegan.config.safe_yaml import parse_yaml
from cyclegan.directions import NOISE, Direction
from cyclegan.errors import UsageError, reason_of
from cyclegan.report.series import Series
from cyclegan.tracking.journal import FILE as JOURNAL
from cyclegan.tracking.journal import Reader

ALARMS = 200  # of a run are listed; a run that has more has one cause for most of them
GALLERY = "gallery"
_OLDER = (Direction("a", "b"), Direction("b", "a"))  # of runs from before meta.json named their directions
_FILES = ("meta.json", "status.json", "pictures.json", "evaluation.json", "best.json", f"{GALLERY}/gallery.json")


@dataclass(frozen=True)
class RaisedAlarm:
    """Something that went wrong, in the words of the one who noticed it."""

    step: int
    name: str
    text: str
    figure: float | None


@dataclass
class RunRecord:
    """A run as its directory tells of it. Mappings are empty where a file is not there."""

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    gallery: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    newest: dict[str, tuple[int, float]] = field(default_factory=dict)  # name -> step and value of its last row
    grids: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))  # "a2b" -> step -> path in run
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)  # headings of the newest grid of "a2b"
    alarms: list[RaisedAlarm] = field(default_factory=list)
    alarm_count: int = 0
    seconds: float = 0.0  # spent in training, without the time between two starts
    last_step: int = 0

    @property
    def name(self) -> str:
        """What to call the run: its folder."""
        return self.path.resolve().name

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that the run has generators for."""
        named = self.meta.get("directions")
        try:
            return tuple(Direction.parse(str(key)) for key in named) if isinstance(named, list) and named else _OLDER
        except UsageError:
            return _OLDER

    @property
    def domains(self) -> dict[str, str]:
        """What to call the domains: the folders of --a and --b, or A and B."""
        found = sorted({domain for way in self.directions for domain in (way.source, way.target)} - {NOISE})
        return {d: Path(str(self.config[d])).name if self.config.get(d) else d.upper() for d in found}

    @property
    def step(self) -> int:
        """How far it has come."""
        return max(self.last_step, _whole(self.status.get("step")))

    def inside(self, relative: str) -> Path | None:
        """The file of that name in the run; None where it is none, or lies elsewhere, whatever a record says."""
        try:
            path = (self.path / relative).resolve()
            return path if self.path.resolve() in path.parents and path.is_file() else None
        except (OSError, ValueError):  # no file can be called so: too long, or with a NUL in it
            return None


def read_record(path: Path) -> RunRecord:
    """The run in `path`; `UsageError` where nothing of a run is there.

    Memory is bounded whatever the length of the journal, but for the names of its grids: 35 MiB for a million rows of
    twenty figures, which take about a minute.
    """
    if not any((path / name).is_file() for name in ("config.yaml", "status.json", JOURNAL)):
        raise UsageError(f"RUN: {path} is no run; name a folder that `cyclegan train` made")
    record = RunRecord(path)
    record.config = _mapping(record, "config.yaml", parse_yaml)
    found = [_mapping(record, name, json.loads) for name in _FILES]
    record.meta, record.status, record.pictures, record.evaluation, record.best, record.gallery = found
    if (path / JOURNAL).is_file():
        _read_journal(record)
    return record


def _mapping(record: RunRecord, name: str, parse: Any) -> Mapping[str, Any]:
    file = record.path / name
    try:
        values = parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        record.notes.append(f"{name} cannot be read ({reason_of(error).lower()}) and is left out")
        return {}
    except (ValueError, RecursionError):  # not JSON, not YAML, or not even UTF-8
        values = None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        record.notes.append(f"{name} is damaged and left out")
        return {}
    return values


def _read_journal(record: RunRecord) -> None:
    batch = _whole(record.config.get("batch_size")) or 1
    before = 0
    try:
        for row in Reader(record.path / JOURNAL).new():
            step = row["step"]
            if not 0 <= step < 2**53:  # of a damaged line
                continue
            record.last_step = max(record.last_step, step)
            for name, value in row.items():
                if isinstance(value, str):
                    _note_text(record, row, step, name, value)
                elif name not in ("step", "time") and (number := number_of(value)) is not None:
                    record.series[name].add(step, number)
                    record.newest[name] = (step, number)
            speed = number_of(row.get("speed/images_per_second"))
            if speed is not None and speed > 0:
                record.seconds += max(step - before, 0) * batch / speed
                before = step
    except OSError as error:
        record.notes.append(f"{JOURNAL} cannot be read ({reason_of(error).lower()}); curves and grids are left out")


def _note_text(record: RunRecord, row: Mapping[str, Any], step: int, name: str, value: str) -> None:
    kind, _, rest = name.partition("/")
    if kind == "samples":
        record.grids[rest][step] = value
    elif kind == "columns":
        record.columns[rest.removeprefix("samples/")] = tuple(value.split(", "))
    elif kind == "alarm":
        record.alarm_count += 1
        if len(record.alarms) < ALARMS:
            record.alarms.append(RaisedAlarm(step, rest, value, number_of(row.get(f"alarm_figure/{rest}"))))


def number_of(value: Any) -> float | None:
    """`value` as a finite number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more digits than a float has
        return None
    return number if math.isfinite(number) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one: records may be damaged in any way."""
    return value if isinstance(value, Mapping) else {}


def _whole(value: Any) -> int:
    number = number_of(value)
    return 0 if number is None else int(number)
