"""`metrics.jsonl`: one JSON object a line, the record of a run that everything else is made from.

A row is `{"step": 40, "time": 1795243863.5, "loss/generator": 1.25, …}`. A number that is not finite is `null`, since
JSON has no word for it. A row about a file holds its path relative to the run directory instead of a number:
`{"step": 500, "time": …, "samples/a2b": "samples/a2b-00000500.png"}`, and the names of a grid's columns beside it:
`"columns/samples/a2b": "real, fake, …"`. Under the name `model` that is a file of generators, under `best` the file of
the best ones so far, which the next best will take too, and under `held-out` the `gallery.json` of translations. A row
about an alarm holds its text, `alarm/<name>`, and `alarm_figure/<name>`.

Every name has at each step at most one value. A run that is resumed starts from a state older than its last row and
computes the steps between once more, with the same result, so that what is on record already is not written again.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"
MODEL = "model"  # the name of rows about a file of generators
BEST = "best"  # the name of rows about the best generators
TABLE = "held-out"  # the name of rows about a gallery
GRID_COLUMNS = "columns/"  # what the names of the headings of a picture begin with
ALARM = "alarm/"  # what the names of alarms begin with, and those of their figures
ALARM_FIGURE = "alarm_figure/"
RESERVED = frozenset({"step", "time"})

Row = dict[str, Any]


class Journal:
    """Append rows to `run/metrics.jsonl`. Not for two processes at once: the lock of the run directory sees to that."""

    def __init__(self, run: Path) -> None:
        """Open or create the journal; a last line torn by a crash is cut off. Raises `OSError`."""
        self.path = run / FILE
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _cut_torn_line(self._file)
            self._last: dict[str, int] = {}  # name -> the last step it has a value for
            for row in Reader(self.path).new():
                self._remember(row, row["step"])
        except BaseException:
            os.close(self._file)
            raise

    def append(self, step: int, values: Mapping[str, float | str]) -> None:
        """Write a row with those of `values` that are not on record yet, in one write: it is there whole or not at all.

        Raises `OSError` where the row cannot be written; the rows before it are untouched.
        """
        assert self._file >= 0, "the journal is closed"
        assert not RESERVED & values.keys(), f"{sorted(RESERVED & values.keys())} are names of the journal itself"
        new = {name: value for name, value in values.items() if step > self._last.get(name, -1)}
        if not new:
            return
        row = {"step": step, "time": round(time.time(), 3)} | {name: _as_json(value) for name, value in new.items()}
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
        size = os.fstat(self._file).st_size
        written = os.write(self._file, line)  # no buffer in between: after SIGKILL the row is there
        if written < len(line):
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._remember(new, step)

    def close(self) -> None:
        """Give the file back. Nothing can be appended after that."""
        os.close(self._file)
        self._file = -1

    def _remember(self, names: Iterable[str], step: int) -> None:
        for name in names:
            self._last[name] = step


class Reader:
    """The rows of a journal, and later those that were added since, while another process may be writing it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Row]:
        """The whole rows not returned yet. Lines that are no row, such as a failing disk leaves, are passed over."""
        with open(self._path, "rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return  # still being written
                self._offset += len(line)
                row = _parse(line)
                if row is not None:
                    yield row


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, or not even UTF-8
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _as_json(value: float | str) -> float | str | None:
    if isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _cut_torn_line(file: int) -> None:
    """Shorten the file to its last line end. The pieces are small, as a row is some hundred bytes."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 4096)
        os.lseek(file, start, os.SEEK_SET)
        newline = os.read(file, end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < os.fstat(file).st_size:
        os.ftruncate(file, end)
