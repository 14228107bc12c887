"""Pictures larger than the memory: in tiles that agree with each other, band by band from the top.

A tile's neighbours overlap it, and the network's own edges are only those of the picture; the statistics of
InstanceNorm are those of the whole. So the tiles together are what the whole would be, up to what is estimated of
these statistics and what the mirrored edge of a tile reaches through the overlap; docs/large-pictures.md has figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from cyclegan.images import Header, Range, RangeRule
from cyclegan.images.ranges import Fixed, Full, MinMax
from cyclegan.translation.tiling.painter import TiledGenerator, as_batch, as_picture, shifted
from cyclegan.translation.tiling.policy import OVERLAP, Tiling
from cyclegan.translation.tiling.statistics import settle_statistics
from cyclegan.translation.translator import Translator
from cyclegan.translation.value_scale import to_model_input

__all__ = ["Tiling", "translate_regions"]

NUMBERS = 2**22  # of a picture, that are looked at or written at a time
SAMPLED = 2**24  # of which no more are looked at to find percentiles

Write = Callable[[np.ndarray, np.ndarray | None], None]


class RegionSource(Protocol):
    """A picture of which parts can be read: `cyclegan.images.Regions`."""

    header: Header

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The pixels H×W×C of a part, and its transparency H×W or None."""


def translate_regions(
    translator: Translator, regions: RegionSource, write: Write, *, tile: int, overlap: int | None = None
) -> None:
    """Translate a picture in tiles of `tile` pixels, rounded up to what the network takes.

    `write(pixels, alpha)` is given whole-width bands from the top, of the type of the picture. Neighbours share
    `overlap` pixels at least; None chooses. A tile that does not fit in the memory is halved, down to 128 pixels.

    What is held at a time is a row of tiles and what the network takes for one of them, whatever the height of the
    picture. It is read once for the translation and one to three times before, for the statistics.

    Raises `ValueError`, in words, where a picture does not suit the model, `MemoryError` where no tile fits, and what
    `regions` and `write` raise.
    """
    header = regions.header
    height, width = header.height, header.width
    source, target = translator.scales.of_parts(header.dtype, partial(_parts, regions))
    painter = TiledGenerator(translator, tile=tile, overlap=OVERLAP if overlap is None else overlap)
    strip = Strip(regions)
    show, glimpse = (partial(_shown, parts, source, translator.in_channels) for parts in (strip, regions))
    glimpse(0, 0, 1, 1)  # a picture of other channels is refused before the work
    while max(height, width) <= painter.tile:  # one is enough: as ever, with its own statistics
        made = painter.attempt(as_batch(show(0, 0, height, width)), translator.generator)
        if made is not None:
            _write(as_picture(made), 0, strip, target, write)
            return
        painter.halve(max(height, width))
    settle_statistics(painter, glimpse, show, height, width)
    rows, _ = painter.axes(height, width)
    carried: np.ndarray | None = None  # the first rows of the next band, as far as this one has a share in them
    for number, top in enumerate(rows.starts):
        answer = painter.run(partial(shifted, show, top, 0), min(rows.extent, height - top), width)
        first, last = rows.span(number)
        band = answer[first - top : last - top]
        band *= rows.weights(number)[: len(band), None, None]
        if carried is not None:
            band[: len(carried)] += carried
        end = min(rows.span(number + 1)[0], height) if number + 1 < len(rows.starts) else height
        _write(band[: end - first], first, strip, target, write)
        carried = band[end - first :].copy()


class Strip:
    """A picture that is read from the top by whole rows; the latest are kept, so that each is read once."""

    def __init__(self, parts: RegionSource) -> None:
        self._parts = parts
        self._top = 0
        self._pixels: np.ndarray | None = None  # the rows from `_top`
        self._alpha: np.ndarray | None = None

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See `RegionSource.read`; a view."""
        kept = 0 if self._pixels is None else len(self._pixels)
        if not (self._top <= top and top + height <= self._top + kept):
            self._move(top, height)
        assert self._pixels is not None
        part = np.s_[top - self._top : top - self._top + height, left : left + width]
        return self._pixels[part], None if self._alpha is None else self._alpha[part]

    def _move(self, top: int, height: int) -> None:
        """Keep these rows and no others."""
        width, pixels, alpha = self._parts.header.width, self._pixels, self._alpha
        skipped = top - self._top
        if pixels is None or not 0 <= skipped < len(pixels):
            self._pixels = self._alpha = None  # not held while the next are read
            pixels, alpha = self._parts.read(top, 0, height, width)
        else:
            have = len(pixels) - skipped
            more, more_alpha = self._parts.read(top + have, 0, height - have, width)
            pixels = np.concatenate([pixels[skipped:], more])
            alpha = None if alpha is None or more_alpha is None else np.concatenate([alpha[skipped:], more_alpha])
        self._top, self._pixels, self._alpha = top, pixels, alpha


def _shown(
    parts: RegionSource | Strip, source: Range, channels: int, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """A part as the network sees it, float32 HWC in [-1, 1]."""
    pixels, alpha = parts.read(top, left, height, width)
    return source.to_unit(to_model_input(pixels, alpha, source, channels))


def _write(band: np.ndarray, top: int, strip: Strip, target: Range, write: Write) -> None:
    """Rows from `top` on, float32 in [-1, 1], a few at a time: the way back is in double precision."""
    rows = max(1, NUMBERS // band[0].size)
    for first in range(0, len(band), rows):
        part = band[first : first + rows]
        pixels, alpha = strip.read(top + first, 0, len(part), band.shape[1])
        write(target.from_unit(part, pixels.dtype), alpha)


def _parts(regions: RegionSource, rule: RangeRule) -> Iterator[np.ndarray]:
    """What a rule has to look at to find the range of a picture, as bands: of a rule that knows it, one pixel for the
    type; for the least and the greatest number all; else so many, evenly spread, as make up `SAMPLED` numbers.
    """
    header = regions.header
    if isinstance(rule, Full | Fixed):
        yield regions.read(0, 0, 1, 1)[0]
        return
    rows = max(1, NUMBERS // (header.width * header.channels))
    tops = range(0, header.height, rows)
    most = len(tops) if isinstance(rule, MinMax) else max(1, SAMPLED // NUMBERS)
    step = max(1, -(-len(tops) // most))
    for top in tops[::step]:
        yield regions.read(top, 0, min(rows, header.height - top), header.width)[0]
