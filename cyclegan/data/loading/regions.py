"""Crops read from pictures that are too large to be decoded whole for each crop."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from cyclegan.images import ArrayRegions, Header, Picture, Regions, open_regions, read_header

LARGE = 64 * 2**20  # decoded bytes above which a picture is read in parts
OPEN = 4  # open files per process; each TIFF keeps up to 128 MB of decoded tiles
_GRID = 3  # rows and columns of the crops that a range is measured on
_SIDE = 512  # pixels, of such a crop


def is_large(header: Header) -> bool:
    """True for a picture that should be read in parts if these suffice."""
    return header.height * header.width * header.channels * header.dtype.itemsize > LARGE


def sampled_parts(path: Path) -> Iterator[Picture]:
    """Nine crops spread evenly over a large picture."""
    with open_regions(path) as regions:
        height, width = regions.header.height, regions.header.width
        down, across = min(height, _SIDE), min(width, _SIDE)
        for place in range(_GRID**2):
            row, column = divmod(place, _GRID)
            top, left = (height - down) * row // (_GRID - 1), (width - across) * column // (_GRID - 1)
            yield Picture(*regions.read(top, left, down, across), regions.details)


class LargePictures:
    """Open readers of the large pictures of a run, by place as in a cache: domain after domain.

    Each process keeps the last few open and reads each header once.
    """

    def __init__(self, places: int) -> None:
        self._known: list[bool | None] = [None] * places  # large or not
        self._open: OrderedDict[int, Regions] = OrderedDict()
        weakref.finalize(self, _close_all, self._open)

    def __reduce__(self) -> tuple[type[LargePictures], tuple[int]]:
        return LargePictures, (len(self._known),)  # a spawned process opens its own

    def reader(self, place: int, path: Path) -> Regions | None:
        """The regions of the picture at `place`; None where it is small enough to be decoded whole.

        Raises `UnreadableImage`.
        """
        if self._known[place] is None:
            self._known[place] = is_large(read_header(path))
        if not self._known[place]:
            return None
        if place in self._open:
            self._open.move_to_end(place)
            return self._open[place]
        regions = open_regions(path)
        if isinstance(regions, ArrayRegions):  # can only be decoded whole: treated as small from now on
            self._known[place] = False
            return regions
        while len(self._open) >= OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[place] = regions
        return regions


def _close_all(opened: OrderedDict[int, Regions]) -> None:
    for regions in opened.values():
        regions.close()
