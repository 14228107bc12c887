"""Records of a run directory, read as far as possible.

A run may have just begun, may come from an older version, or may have lost a file to a failing disk. A missing record
is empty; a damaged one is left out and named in `notes`. Only a folder without any record of a run is an error.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from cyclegan.config.safe_yaml import read_run_config
from cyclegan.directions import NOISE, Direction
from cyclegan.errors import UsageError, reason_of
from cyclegan.report.series import Series
from cyclegan.tracking.journal import FILE as JOURNAL
from cyclegan.tracking.journal import Reader

RECENT = 5  # evaluations in training whose spread is an uncertainty
ALARMS = 200  # listed per run; if there are more, most have a single cause
GALLERY = "gallery"
_OLDER = (Direction("a", "b"), Direction("b", "a"))  # of runs from before meta.json named their directions
CONFIG = "config.yaml"
_RECORDS = ("meta.json", "status.json", "pictures.json", "evaluation.json", "best.json", f"{GALLERY}/gallery.json")


@dataclass(frozen=True)
class RaisedAlarm:
    """An alarm of the training, with its text and the measured figure."""

    step: int
    name: str
    text: str
    figure: float | None


@dataclass
class RunRecord:
    """Contents of a run directory. The mappings are config.yaml and `_RECORDS`, empty if missing."""

    path: Path
    config: Mapping[str, Any]
    meta: Mapping[str, Any]
    status: Mapping[str, Any]
    pictures: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    best: Mapping[str, Any]
    gallery: Mapping[str, Any]
    _: KW_ONLY
    notes: list[str]  # a sentence for each record that was left out
    series: dict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    newest: dict[str, tuple[int, float]] = field(default_factory=dict)  # name -> step and value of its last row
    # Steps and values of the newest `RECENT` evaluations in training, by the name of their series
    recent: dict[str, deque[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(partial(deque, maxlen=RECENT))
    )
    grids: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))  # "a2b" -> step -> path in run
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)  # headings of the newest grid of "a2b"
    alarms: list[RaisedAlarm] = field(default_factory=list)
    alarm_count: int = 0
    seconds: float = 0.0  # spent in training, without the time between two starts
    last_step: int = 0

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        named = self.meta.get("directions")
        try:
            return tuple(Direction.parse(str(key)) for key in named) if isinstance(named, list) and named else _OLDER
        except UsageError:
            return _OLDER

    @property
    def domains(self) -> dict[str, str]:
        """Domain -> its name: the folder of --a or --b, else A or B."""
        ends = {domain for direction in self.directions for domain in (direction.source, direction.target)}
        return {d: Path(str(self.config[d])).name if self.config.get(d) else d.upper() for d in sorted(ends - {NOISE})}

    @property
    def step(self) -> int:
        return max(self.last_step, whole(self.status.get("step")) or 0)

    def inside(self, relative: str) -> Path | None:
        """Path of a file of the run; None if there is none, or if a record leads outside the run."""
        try:
            path = (self.path / relative).resolve()
            return path if self.path.resolve() in path.parents and path.is_file() else None
        except (OSError, ValueError):  # not a possible file name: too long, or with a NUL in it
            return None


def read_record(path: Path) -> RunRecord:
    """Read the run in `path`; `UsageError` if it holds no record of a run.

    Memory is bounded for a journal of any length, except for the names of its grids: 35 MiB for a million rows of
    twenty figures, which take about a minute.
    """
    if not any((path / name).is_file() for name in (CONFIG, "status.json", JOURNAL)):
        raise UsageError(f"RUN: {path} is no run; name a folder that `cyclegan train` made")
    notes: list[str] = []
    record = RunRecord(path, *(_read_mapping(path, name, notes) for name in (CONFIG, *_RECORDS)), notes=notes)
    if (path / JOURNAL).is_file():
        _read_journal(record)
    return record


def _read_mapping(run: Path, name: str, notes: list[str]) -> Mapping[str, Any]:
    try:
        values = read_run_config(run) if name == CONFIG else json.loads((run / name).read_text(encoding="utf-8"))
        if isinstance(values, dict):
            return values
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        notes.append(f"{name} cannot be read ({reason_of(error).lower()}) and is left out")
        return {}
    except (ValueError, RecursionError):  # not JSON, not YAML, or not even UTF-8
        pass
    notes.append(f"{name} is damaged and left out")
    return {}


def _read_journal(record: RunRecord) -> None:
    batch = whole(record.config.get("batch_size")) or 1
    before = 0
    try:
        for row in Reader(record.path / JOURNAL).new():
            step = row["step"]
            if not 0 <= step < 2**53:  # a damaged line
                continue
            record.last_step = max(record.last_step, step)
            for name, value in row.items():
                if isinstance(value, str):
                    _note_text(record, row, step, name, value)
                elif name not in ("step", "time") and (number := number_of(value)) is not None:
                    record.series[name].add(step, number)
                    record.newest[name] = (step, number)
                    if name.startswith("evaluation/"):
                        record.recent[name].append((step, number))
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
    """`value` as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more digits than a float has
        return None
    return number if math.isfinite(number) else None


def whole(value: Any) -> int | None:
    """`value` as a whole number if it is a finite number, else None."""
    number = number_of(value)
    return None if number is None else int(number)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one, since records may be damaged in any way."""
    return value if isinstance(value, Mapping) else {}


def nested(values: Any, *keys: str) -> Any:
    """The value at a path of keys; None if the path ends before."""
    for key in keys:
        values = mapping(values).get(key)
    return values
