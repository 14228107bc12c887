"""Translation of pictures larger than memory: consistent tiles, written band by band from the top.

Neighbouring tiles overlap, only the edges of the picture are padded edges, and InstanceNorm uses the statistics of the
whole picture. So the result equals that of an untiled pass, up to the error of the estimated statistics and the reach
of a tile's mirrored edge through the overlap; docs/large-pictures.md has figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from cyclegan.images import Range, RangeRule, Regions
from cyclegan.images.ranges import Fixed, Full, MinMax
from cyclegan.translation.tiling.painter import TiledGenerator, as_batch, as_picture, shifted
from cyclegan.translation.tiling.policy import OVERLAP
from cyclegan.translation.tiling.statistics import settle_statistics
from cyclegan.translation.translator import Translator
from cyclegan.translation.value_scale import to_model_input

NUMBERS = 2**22  # pixel values read or written at a time
SAMPLED = 2**24  # pixel values read at most for percentiles

Write = Callable[[np.ndarray, np.ndarray | None], None]


def translate_regions(
    translator: Translator, regions: Regions, write: Write, *, tile: int, overlap: int | None = None
) -> None:
    """Translate a picture in tiles of `tile` pixels, rounded up to the network's stride.

    `write(pixels, alpha)` receives full-width bands from the top, of the type of the picture. Neighbours overlap by at
    least `overlap` pixels; None chooses. A tile that does not fit in memory is halved, down to 128 pixels.

    Memory holds one row of tiles and the network's activations for one tile, whatever the height of the picture. The
    picture is read once for the translation and one to three times before, for the statistics.

    Raises `ValueError` with a readable reason if a picture does not suit the model, `MemoryError` if no tile fits, and
    what `regions` and `write` raise.
    """
    header = regions.header
    height, width = header.height, header.width
    source, target = translator.scales.of_parts(header.dtype, partial(_parts, regions))
    tiled = TiledGenerator(translator, tile=tile, overlap=OVERLAP if overlap is None else overlap)
    strip = Strip(regions)
    show, show_piece = (partial(_shown, parts, source, translator.in_channels) for parts in (strip, regions))
    show_piece(0, 0, 1, 1)  # refuse other numbers of channels before the work
    while max(height, width) <= tiled.tile:  # a single tile: ordinary pass with its own statistics
        made = tiled.attempt(as_batch(show(0, 0, height, width)), translator.generator)
        if made is not None:
            _write(as_picture(made), 0, strip, target, write)
            return
        tiled.halve(max(height, width))
    settle_statistics(tiled, show_piece, show, height, width)
    rows, _ = tiled.axes(height, width)
    carried: np.ndarray | None = None  # this band's part of the first rows of the next
    for number, top in enumerate(rows.starts):
        answer = tiled.run(partial(shifted, show, top, 0), min(rows.extent, height - top), width)
        first, last = rows.span(number)
        band = answer[first - top : last - top]
        band *= rows.weights(number)[: len(band), None, None]
        if carried is not None:
            band[: len(carried)] += carried
        end = min(rows.span(number + 1)[0], height) if number + 1 < len(rows.starts) else height
        _write(band[: end - first], first, strip, target, write)
        carried = band[end - first :].copy()


class Strip:
    """Sequential reader of whole rows that keeps the latest, so that each is read once."""

    def __init__(self, parts: Regions) -> None:
        self._parts = parts
        self._top = 0
        self._pixels: np.ndarray | None = None  # the rows from `_top`
        self._alpha: np.ndarray | None = None

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a region as a view; see `Regions.read`."""
        kept = 0 if self._pixels is None else len(self._pixels)
        if not (self._top <= top and top + height <= self._top + kept):
            self._move(top, height)
        assert self._pixels is not None
        part = np.s_[top - self._top : top - self._top + height, left : left + width]
        return self._pixels[part], None if self._alpha is None else self._alpha[part]

    def _move(self, top: int, height: int) -> None:
        width, pixels, alpha = self._parts.header.width, self._pixels, self._alpha
        skipped = top - self._top
        if pixels is None or not 0 <= skipped < len(pixels):
            self._pixels = self._alpha = None  # freed before the next are read
            pixels, alpha = self._parts.read(top, 0, height, width)
        else:
            have = len(pixels) - skipped
            more, more_alpha = self._parts.read(top + have, 0, height - have, width)
            pixels = np.concatenate([pixels[skipped:], more])
            alpha = None if alpha is None or more_alpha is None else np.concatenate([alpha[skipped:], more_alpha])
        self._top, self._pixels, self._alpha = top, pixels, alpha


def _shown(
    parts: Regions | Strip, source: Range, channels: int, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """Region as network input, float32 HWC in [-1, 1]."""
    pixels, alpha = parts.read(top, left, height, width)
    return source.to_unit(to_model_input(pixels, alpha, source, channels))


def _write(band: np.ndarray, top: int, strip: Strip, target: Range, write: Write) -> None:
    """Write float32 rows from `top` on, few at a time, since they are converted in double precision."""
    rows = max(1, NUMBERS // band[0].size)
    for first in range(0, len(band), rows):
        part = band[first : first + rows]
        pixels, alpha = strip.read(top + first, 0, len(part), band.shape[1])
        write(target.from_unit(part, pixels.dtype), alpha)


def _parts(regions: Regions, rule: RangeRule) -> Iterator[np.ndarray]:
    """Bands from which `rule` finds the range of a picture.

    One pixel, for its type, if fixed; all rows for minimum and maximum; else `SAMPLED` values, evenly spread.
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
