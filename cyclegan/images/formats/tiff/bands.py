"""Writing of TIFF band by band, through tifffile's writer of tiles or strips."""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cyclegan.images.formats import required
from cyclegan.images.formats.tiff.writing import TiffLayout, check, writer
from cyclegan.images.picture import Picture

_STRIP = 2**20  # bytes; larger strips of the source are split
_WAIT = 0.1  # seconds between checks that the other thread is alive


class _Abandoned(Exception):
    """Writing was abandoned by the caller."""


class TiffBands:
    """Writer of a TIFF at `path`, whose planes become interleaved.

    tifffile's writer pulls tiles from an iterator, while bands are pushed here: so it runs in its own thread, which
    waits for them. It is never more than one row of tiles behind.
    """

    def __init__(self, path: Path, height: int, width: int, layout: TiffLayout) -> None:
        row = width * layout.samples * layout.dtype.itemsize
        most, container = max(1, _STRIP // row), layout.details.container
        container = {**container, "planar": 1, "rows": min(int(container.get("rows") or most), most)}
        self._layout = replace(layout, details=replace(layout.details, container=container))
        check(self._layout)
        self._height, self._width = height, width
        self._unit = self._layout.tile[0] if self._layout.tile else self._layout.rows
        self._waiting: list[np.ndarray] = []
        self._ready: queue.Queue[np.ndarray | None] = queue.Queue(maxsize=1)
        self._left = False
        self._error: BaseException | None = None
        self._stream = open(path, "w+b")  # noqa: SIM115 - closed by abandon
        self._file = writer(self._stream, self._layout, height * row)
        self._thread = threading.Thread(target=self._run, name="tiff writer", daemon=True)
        self._thread.start()

    def add(self, band: Picture) -> None:
        """Add the next rows."""
        self._waiting.append(self._layout.array(band))
        if sum(map(len, self._waiting)) < self._unit:
            return
        rows = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        for start in range(0, len(rows) - self._unit + 1, self._unit):
            self._bring(rows[start : start + self._unit])
        self._waiting = [rows[len(rows) - len(rows) % self._unit :].copy()]

    def finish(self) -> None:
        """Complete the file after the last row. Raises what the writing raised."""
        if any(map(len, self._waiting)):
            self._bring(np.concatenate(self._waiting))
        self._bring(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._stream.flush()

    def abandon(self) -> None:
        """Close the file and end the thread."""
        self._left = True
        self._thread.join()
        self._stream.close()

    def _bring(self, rows: np.ndarray | None) -> None:
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):  # check that the other thread is alive, and wait on
                self._ready.put(rows, timeout=_WAIT)
                return
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        layout = self._layout
        shape = (self._height, self._width) + ((layout.samples,) if layout.samples > 1 else ())
        try:
            with self._file:
                self._file.write(
                    self._tiles() if layout.tile else self._strips(),
                    shape=shape,
                    dtype=layout.stored,
                    extratags=layout.tags(),
                    **layout.options(),
                )
        except _Abandoned:
            pass  # requested by `abandon`
        except BaseException as error:  # raised again in the thread that adds bands
            self._error = error

    def _rows(self) -> Iterator[np.ndarray]:
        """Bands with the rows of one tile or strip; the last may have fewer."""
        while True:
            try:
                rows = self._ready.get(timeout=_WAIT)
            except queue.Empty:
                if self._left:
                    raise _Abandoned from None
                continue
            if rows is None:
                return
            yield rows

    def _tiles(self) -> Iterator[np.ndarray]:
        assert self._layout.tile is not None
        height, width = self._layout.tile
        for rows in self._rows():
            for left in range(0, self._width, width):
                tile = np.zeros((height, width, *rows.shape[2:]), rows.dtype)
                part = rows[:, left : left + width]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile

    def _strips(self) -> Iterator[bytes]:
        """Encoded strips, each taken from a TIFF of that strip alone: the writer takes no strips as arrays."""
        tifffile = required("tifffile", "writing such a TIFF")
        options = self._layout.options() | {"rowsperstrip": self._unit}
        for rows in self._rows():
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, rows, byteorder=self._layout.byteorder, **options)
            buffer.seek(0)
            with tifffile.TiffFile(buffer) as file:
                (start,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
            yield buffer.getvalue()[start : start + count]
