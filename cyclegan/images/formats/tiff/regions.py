"""Reading of regions of a TIFF by its tiles or strips, with a cache of the last used ones."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import replace
from itertools import product

import numpy as np

from cyclegan.images.formats import installed
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.formats.tiff import pages
from cyclegan.images.formats.tiff.pages import Page
from cyclegan.images.picture import Part, Parts

KEPT = 128 * 2**20  # bytes of decoded tiles: one row of them, 1024 high, of a picture 40,000 pixels wide
_LARGEST = 256 * 2**20  # bytes of one tile or strip; above this, reading by regions gains nothing


def parts(source: ByteSource, files: contextlib.ExitStack) -> Parts | None:
    """Metadata of the first page and a reader of its regions; None if it can only be decoded whole."""
    if not installed("tifffile"):
        return None
    file = files.enter_context(pages.opened(source))
    page = Page(file.pages[0], source)
    try:
        page.check()
    except ValueError:
        return None  # a kind that only Pillow knows, or invalid, which the reader of whole pictures reports
    if page.orientation != 1:
        return None
    segments = _Segments(page)
    if not page.page.is_memmappable and segments.nbytes > _LARGEST:
        return None
    notes: list[str] = []
    page.split(segments.read(0, 0, 1, 1), notes)  # the notes on colours of one region hold for all
    details = page.details(notes)
    if len(file.pages) > 1:
        details = replace(details, notes=(*details.notes, f"the first of {len(file.pages)} pages"))

    def read(top: int, left: int, height: int, width: int) -> Part:
        return page.split(segments.read(top, left, height, width), [])

    return details, read


class _Segments:
    """The tiles or strips of a page."""

    def __init__(self, page: Page) -> None:
        self.page = page.page
        self.stream = page.source.stream
        tiled = self.page.is_tiled
        self.height = int(self.page.tilelength if tiled else min(self.page.rowsperstrip, self.page.imagelength))
        self.width = int(self.page.tilewidth if tiled else self.page.imagewidth)
        self.planes = page.samples if self.page.shaped[0] > 1 else 1
        self.together = page.samples // self.planes  # samples of a segment
        self.across = -(-int(self.page.imagewidth) // self.width)
        self.down = -(-int(self.page.imagelength) // self.height)
        self.tables = {"jpegtables": self.page.jpegtables, "jpegheader": self.page.jpegheader}
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.size = 0

    @property
    def nbytes(self) -> int:
        """Size of one decoded segment."""
        return int(self.height * self.width * self.together * np.dtype(self.page.dtype).itemsize)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The samples of a region, H×W×S."""
        if self.page.is_memmappable:
            region = self._mapped()[:, 0, top : top + height, left : left + width]
            return region.transpose(1, 2, 0, 3).reshape(height, width, -1)
        # The tiles or strips that it touches
        down = range(top // self.height, -(-(top + height) // self.height))
        across = range(left // self.width, -(-(left + width) // self.width))
        made = np.zeros((height, width, self.planes * self.together), self.page.dtype)
        for plane, row, column in product(range(self.planes), down, across):
            first, start = row * self.height, column * self.width
            segment = self._segment((plane * self.down + row) * self.across + column)
            if segment is None:  # sparse file: nothing was stored here
                continue
            rows = slice(max(top, first), min(top + height, first + len(segment)))
            columns = slice(max(left, start), min(left + width, start + segment.shape[1]))
            samples = slice(plane * self.together, (plane + 1) * self.together)
            made[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, samples] = segment[
                rows.start - first : rows.stop - first, columns.start - start : columns.stop - start
            ]
        return made

    def _mapped(self) -> np.ndarray:
        """A short-lived memory map of all samples: pages stay in memory as long as the map exists."""
        dtype = np.dtype(self.page.dtype).newbyteorder(self.page.parent.byteorder)
        return np.memmap(self.stream, dtype, "r", int(self.page.dataoffsets[0]), self.page.shaped)

    def _segment(self, index: int) -> np.ndarray | None:
        """One tile or strip, H×W×S, cropped at the edge of the picture; None if not stored."""
        if index in self.kept:
            self.kept.move_to_end(index)
            return self.kept[index]
        count = int(self.page.databytecounts[index])
        if not count:
            return None
        self.stream.seek(int(self.page.dataoffsets[index]))
        data = self.stream.read(count)
        if len(data) < count:
            raise ValueError("image file is truncated")
        decoded, _, shape = self.page.decode(data, index, **self.tables)
        segment: np.ndarray = decoded.reshape(*decoded.shape[-3:])[: shape[1], : shape[2]]
        self.kept[index] = segment
        self.size += segment.nbytes
        while self.size > KEPT and len(self.kept) > 1:
            self.size -= self.kept.popitem(last=False)[1].nbytes
        return segment
