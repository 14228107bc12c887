"""The InstanceNorm statistics of a whole picture, from parts that fit in the memory.

A layer's statistics depend on those of all layers before. Numbers that are a little off for one layer shift what the
next is given, all in one direction, and after twenty layers the colours are others: statistics of a thumbnail or of a
sample leave some 30 dB, and to collect them again over all tiles with the old ones in use makes it worse, not better.
Both together work. Small pieces from all over the picture go through the network as one batch, each layer normalised
by all of them together, so that errors do not add up. Then the tiles of the whole picture pass through with these
numbers, and what is found in them for each layer is compared with what was found in the pieces: that is what the
pieces lack. They go through once more, with what they lack made up for at each layer, so that the layers after it see
it. This is Newton's method for statistics that reproduce themselves, with the slopes of the sample.
docs/large-pictures.md has the figures.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from cyclegan.networks.layers import pad_to_fit
from cyclegan.networks.shared_statistics import NormWindow
from cyclegan.translation.tiling.axis import rounded
from cyclegan.translation.tiling.painter import Show, TiledGenerator, as_batch

PIECE, HALO = 96, 16  # pixels: the side of a piece of the sample, and how far its mirrored edges are kept out
# With 28 pieces, of whatever size, corrections led away from the whole on a hard picture (20 dB); with 64 and 112 never
PIECES = 112
CORRECTIONS = 6  # at most; each passes all tiles through once
# The correction of statistics that are no further off than this, in deviations, at the worst layer, is the last.
# What a correction leaves is as the square of it: 0.16 to 0.24 left 39 dB, 0.11 left 43 to 46, 0.05 left 52.
SETTLED = 0.1
_PLASTIC = 1.324717957244746  # of the R2 sequence, whose points keep apart in two dimensions

log = logging.getLogger("cyclegan")


def settle_statistics(painter: TiledGenerator, glimpse: Show, show: Show, height: int, width: int) -> None:
    """Make known to the painter's network the statistics of a picture of so many pixels.

    It is shown by `glimpse` for small pieces from all over it, by `show` for tiles in their order: from top to bottom
    up to `CORRECTIONS` times, and not at all if the network has no such statistics. Raises `MemoryError` where not even
    the smallest tile fits.
    """
    shared = painter.shared
    if not shared.norms:
        return
    pieces, windows, size = sample_of(painter, glimpse, height, width)
    while not pool(painter, pieces, windows, size):
        shared.forget()
        if len(pieces) == 1:
            raise MemoryError(f"not enough memory for {size[0]}×{size[1]} pixels")
        pieces, windows = pieces[: len(pieces) // 2], windows[: len(windows) // 2]
    for number in range(CORRECTIONS):
        while not collect(painter, show, height, width):
            shared.forget()  # and all once more, with smaller tiles
        difference = shared.correct()
        log.debug("statistics of the tiles differ by %.3g deviations before correction %d", difference, number + 1)
        if not pool(painter, pieces, windows, size):
            raise MemoryError(f"not enough memory for {len(pieces)} pieces of {size[0]}×{size[1]} pixels")
        if difference < SETTLED:
            return
    log.warning(
        "the statistics of a picture of %d×%d pixels have not settled; its colours may be others than without tiles",
        *(width, height),
    )


def sample_of(
    painter: TiledGenerator, glimpse: Show, height: int, width: int
) -> tuple[Tensor, list[NormWindow], tuple[int, int]]:
    """Pieces from all over a picture, NCHW in [-1, 1], what counts of each, and their height and width.

    They have the pixels of one tile of 1016 together, and take as much memory.
    """
    multiple = painter.multiple
    whole = tuple(max(rounded(pixels, multiple), painter.smallest) for pixels in (height, width))
    side = max(rounded(PIECE, multiple), painter.smallest)
    size = min(side, whole[0]), min(side, whole[1])
    places = dict.fromkeys(
        tuple(_place(number / _PLASTIC ** (axis + 1), whole[axis] - size[axis], multiple) for axis in (0, 1))
        for number in range(1, PIECES + 1)
    )
    pieces, windows = [], []
    for top, left in places:
        shown = glimpse(top, left, min(size[0], height - top), min(size[1], width - left))
        pieces.append(pad_to_fit(as_batch(shown), multiple, painter.smallest))
        (upper, lower), (first, last) = (
            _inside(start, part, all_) for start, part, all_ in zip((top, left), size, whole, strict=True)
        )
        windows.append(NormWindow(upper, first, lower, last))
    return torch.cat(pieces), windows, size


def _inside(start: int, part: int, whole: int) -> tuple[int, int]:
    """What of a piece is `HALO` away from its edges, where those are not edges of the picture."""
    return HALO if start else 0, part if start + part == whole else part - HALO


def _place(point: float, last: int, multiple: int) -> int:
    """The fraction of `point` of the way to `last`, at a multiple."""
    return int((0.5 + point) % 1 * (last // multiple + 1)) * multiple


def pool(painter: TiledGenerator, pieces: Tensor, windows: list[NormWindow], size: tuple[int, int]) -> bool:
    """The pieces once through the network, normalised together; False if they do not fit in the memory."""
    with painter.shared.pooling(size, windows):
        return painter.attempt(pieces) is not None


def collect(painter: TiledGenerator, show: Show, height: int, width: int) -> bool:
    """All tiles once through the network; False, and smaller tiles from now on, if one does not fit."""
    for cell in painter.cells(height, width):
        rows, columns = min(cell.height, height - cell.top), min(cell.width, width - cell.left)
        batch = as_batch(show(cell.top, cell.left, rows, columns))
        with painter.shared.collecting((cell.height, cell.width), [cell.interior]):
            if painter.attempt(batch) is None:
                painter.halve(min(painter.tile, max(cell.height, cell.width)))
                return False
    return True
