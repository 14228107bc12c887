"""Squares read from pictures that are too large to be decoded whole for each."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from cyclegan.images import ArrayRegions, Header, Picture, Regions, open_regions, read_header

LARGE = 64 * 2**20  # bytes decoded from which on a picture is read in parts
OPEN = 4  # files that stay open in each process; of a TIFF each keeps up to 128 MB of decoded tiles
_ACROSS = 3  # squares a side, of those a range is measured on
_SQUARE = 512  # pixels, the side of such a square


def is_large(header: Header) -> bool:
    """True for a picture that is better read in parts, if they suffice."""
    return header.height * header.width * header.channels * header.dtype.itemsize > LARGE


def sampled_parts(path: Path) -> Iterator[Picture]:
    """Nine squares spread evenly over a large picture."""
    with open_regions(path) as regions:
        height, width = regions.header.height, regions.header.width
        down, across = min(height, _SQUARE), min(width, _SQUARE)
        for place in range(_ACROSS**2):
            row, column = divmod(place, _ACROSS)
            top, left = (height - down) * row // (_ACROSS - 1), (width - across) * column // (_ACROSS - 1)
            yield Picture(*regions.read(top, left, down, across), regions.details)


class Large:
    """The large ones among the pictures of a run, by place as a cache has it: domain after domain.

    The last few stay open, in each process for itself; each header is read once.
    """

    def __init__(self, places: int) -> None:
        self._known: list[bool | None] = [None] * places  # large or not
        self._open: OrderedDict[int, Regions] = OrderedDict()
        weakref.finalize(self, _close_all, self._open)

    def __reduce__(self) -> tuple[type[Large], tuple[int]]:
        return Large, (len(self._known),)  # a spawned process opens its own

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
        if isinstance(regions, ArrayRegions):  # it can only be decoded whole: from now on as if it were small
            self._known[place] = False
            return regions
        while len(self._open) >= OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[place] = regions
        return regions


def _close_all(opened: OrderedDict[int, Regions]) -> None:
    for regions in opened.values():
        regions.close()
