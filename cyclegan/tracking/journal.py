"""Journal `metrics.jsonl`: one JSON object per line, the record that all reports are made from.

A row is `{"step": 40, "time": 1795243863.5, "loss/generator": 1.25, …}`. Non-finite numbers are `null`, since JSON
cannot represent them. A row about a file holds its path relative to the run directory instead of a number:
`{"step": 500, "time": …, "samples/a2b": "samples/a2b-00000500.png"}`, and the column names of a sample grid beside it:
`"columns/samples/a2b": "real, fake, …"`. The name `model` stands for a generators file, `best` for the file of the best
ones so far, which later ones overwrite, and `held-out` for the `gallery.json` of translations. A row about an alarm
holds its text, `alarm/<name>`, and `alarm_figure/<name>`.

Every name has at most one value per step. A resumed run starts from a state older than its last row and computes the
steps between again, with the same result, so that values on record are not written again.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"
MODEL = "model"  # name in rows about a generators file
BEST = "best"  # name in rows about the best generators
TABLE = "held-out"  # name in rows about a gallery
GRID_COLUMNS = "columns/"  # prefix of the column names of a sample grid
ALARM = "alarm/"  # prefixes of an alarm's text and of its figure
ALARM_FIGURE = "alarm_figure/"
RESERVED = frozenset({"step", "time"})

Row = dict[str, Any]


class Journal:
    """Writer of `run/metrics.jsonl`, for one process at a time, by the lock of the run directory."""

    def __init__(self, run: Path) -> None:
        """Open or create the journal, removing a last line torn by a crash. Raises `OSError`."""
        self.path = run / FILE
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _cut_torn_line(self._file)
            self._last: dict[str, int] = {}  # name -> last step with a value
            for row in Reader(self.path).new():
                step: int = row["step"]
                self._last |= dict.fromkeys(row, step)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, step: int, values: Mapping[str, float | str]) -> None:
        """Append those of `values` that are not on record yet as one row, atomically.

        Raises `OSError` if the row cannot be written; earlier rows are untouched.
        """
        assert self._file >= 0, "the journal is closed"
        assert not RESERVED & values.keys(), f"{sorted(RESERVED & values.keys())} are reserved names"
        new = {name: value for name, value in values.items() if step > self._last.get(name, -1)}
        if not new:
            return
        row = {"step": step, "time": round(time.time(), 3)} | {name: _as_json(value) for name, value in new.items()}
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
        size = os.fstat(self._file).st_size
        written = os.write(self._file, line)  # unbuffered: the row survives SIGKILL
        if written < len(line):
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._last |= dict.fromkeys(new, step)

    def close(self) -> None:
        """Close the file; nothing can be appended after that."""
        os.close(self._file)
        self._file = -1


class Reader:
    """Incremental reader of a journal that another process may be writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Row]:
        """Yield complete rows not returned yet. Malformed lines, such as a failing disk leaves, are skipped."""
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
    """Truncate the file after its last newline. Chunks are small, as a row has some hundred bytes."""
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
