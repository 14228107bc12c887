"""Squares of pictures that are too large to be decoded anew for each of them."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from cyclegan.images import ArrayRegions, Header, Picture, Regions, open_regions, read_header

LARGE = 64 * 2**20  # bytes decoded from which on a picture is read in parts
OPEN = 4  # readers that stay open in each process; of a TIFF each keeps up to 128 MB of decoded tiles
_ACROSS = 3  # squares a side, of those a range is found from
_SQUARE = 512  # pixels, the side of such a square

_UNKNOWN, _SMALL, _LARGE = range(3)


def is_large(header: Header) -> bool:
    """Whether a picture is better read in parts, where parts are all that is wanted of it."""
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

    The readers of the last few stay open, in each process its own; whether a picture is large is looked up once.
    """

    def __init__(self, places: int) -> None:
        self._known = bytearray(places)
        self._open: OrderedDict[int, Regions] = OrderedDict()
        weakref.finalize(self, _close_all, self._open)

    def __reduce__(self) -> tuple[type[Large], tuple[int]]:
        return Large, (len(self._known),)  # a spawned process opens its own

    def reader(self, place: int, path: Path) -> Regions | None:
        """What reads parts of the picture at `place`; None where it is small enough to be decoded whole.

        `UnreadableImage` says what is wrong with it.
        """
        if self._known[place] == _UNKNOWN:
            self._known[place] = _LARGE if is_large(read_header(path)) else _SMALL
        if self._known[place] == _SMALL:
            return None
        if place in self._open:
            self._open.move_to_end(place)
            return self._open[place]
        regions = open_regions(path)
        if isinstance(regions, ArrayRegions):  # it can only be decoded whole: from now on as if it were small
            self._known[place] = _SMALL
            return regions
        while len(self._open) >= OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[place] = regions
        return regions


def _close_all(readers: OrderedDict[int, Regions]) -> None:
    for regions in readers.values():
        regions.close()
