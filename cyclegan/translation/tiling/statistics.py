"""InstanceNorm statistics of a whole picture, computed from parts that fit in memory.

A layer's statistics depend on those of all earlier layers. A small error in one layer shifts the input of the next,
always in one direction, and after twenty layers the colours change: statistics of a thumbnail or of a sample reach
only some 30 dB, and collecting them again over all tiles with the old ones in use makes it worse.
Both together work. Small pieces from all over the picture go through the network as one batch, each layer normalised
over all of them, so that errors do not add up. Then all tiles of the picture pass through with these statistics, and
each layer's statistics over the tiles are compared with those over the pieces: the difference is the error of the
sample. The pieces pass once more, with that error corrected at each layer, so that later layers see the correction.
This is Newton's method for the fixed point of the statistics, with the derivatives of the sample.
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

PIECE, HALO = 96, 16  # pixels: side of a piece of the sample, and the margin of it left out of the statistics
# With 28 pieces of any size corrections diverged on a hard picture (20 dB); with 64 and 112 never
PIECES = 112
CORRECTIONS = 6  # at most; each is one pass over all tiles
# Tolerance: the last correction is that of an error below this, in standard deviations, at the worst layer.
# The remaining error is quadratic in it: 0.16 to 0.24 gave 39 dB, 0.11 gave 43 to 46, 0.05 gave 52.
SETTLED = 0.1
_PLASTIC = 1.324717957244746  # of the R2 sequence, whose points keep apart in two dimensions

log = logging.getLogger("cyclegan")


def settle_statistics(tiled: TiledGenerator, show_piece: Show, show: Show, height: int, width: int) -> None:
    """Compute the statistics of a whole picture and set them in the shared network.

    `show_piece` reads small pieces from all over the picture, `show` tiles in order: from top to bottom, up to
    `CORRECTIONS` times, and not at all if the network has no such statistics. Raises `MemoryError` if even the
    smallest tile does not fit.
    """
    shared = tiled.shared
    if not shared.norms:
        return
    pieces, windows, size = sample_of(tiled, show_piece, height, width)
    while not pool(tiled, pieces, windows, size):
        shared.forget()
        if len(pieces) == 1:
            raise MemoryError(f"not enough memory for {size[0]}×{size[1]} pixels")
        pieces, windows = pieces[: len(pieces) // 2], windows[: len(windows) // 2]
    for number in range(CORRECTIONS):
        while not collect(tiled, show, height, width):
            shared.forget()  # start over with smaller tiles
        difference = shared.correct()
        log.debug("statistics of the tiles differ by %.3g deviations before correction %d", difference, number + 1)
        if not pool(tiled, pieces, windows, size):
            raise MemoryError(f"not enough memory for {len(pieces)} pieces of {size[0]}×{size[1]} pixels")
        if difference < SETTLED:
            return
    log.warning(
        "the statistics of a picture of %d×%d pixels have not converged; its colours may not be those without tiles",
        *(width, height),
    )


def sample_of(
    tiled: TiledGenerator, show_piece: Show, height: int, width: int
) -> tuple[Tensor, list[NormWindow], tuple[int, int]]:
    """Sample pieces from all over a picture: NCHW in [-1, 1], the window of each, and their size.

    Together they have the pixels of one tile of 1016, and take as much memory.
    """
    multiple = tiled.multiple
    whole = tuple(max(rounded(pixels, multiple), tiled.smallest) for pixels in (height, width))
    side = max(rounded(PIECE, multiple), tiled.smallest)
    size = min(side, whole[0]), min(side, whole[1])
    places = dict.fromkeys(
        tuple(_place(number / _PLASTIC ** (axis + 1), whole[axis] - size[axis], multiple) for axis in (0, 1))
        for number in range(1, PIECES + 1)
    )
    pieces, windows = [], []
    for top, left in places:
        shown = show_piece(top, left, min(size[0], height - top), min(size[1], width - left))
        pieces.append(pad_to_fit(as_batch(shown), multiple, tiled.smallest))
        (upper, lower), (first, last) = (
            _inside(start, part, all_) for start, part, all_ in zip((top, left), size, whole, strict=True)
        )
        windows.append(NormWindow(upper, first, lower, last))
    return torch.cat(pieces), windows, size


def _inside(start: int, part: int, whole: int) -> tuple[int, int]:
    """Window of a piece without `HALO` pixels at each edge that is not an edge of the picture."""
    return HALO if start else 0, part if start + part == whole else part - HALO


def _place(point: float, last: int, multiple: int) -> int:
    """Map the fractional part of `point` + 0.5 to a multiple in 0 … `last`."""
    return int((0.5 + point) % 1 * (last // multiple + 1)) * multiple


def pool(tiled: TiledGenerator, pieces: Tensor, windows: list[NormWindow], size: tuple[int, int]) -> bool:
    """Pass the pieces through the network, normalised together; False if they do not fit in memory."""
    with tiled.shared.pooling(size, windows):
        return tiled.attempt(pieces) is not None


def collect(tiled: TiledGenerator, show: Show, height: int, width: int) -> bool:
    """Pass all tiles through the network; if one does not fit, shrink the tiles and return False."""
    for cell in tiled.cells(height, width):
        rows, columns = min(cell.height, height - cell.top), min(cell.width, width - cell.left)
        batch = as_batch(show(cell.top, cell.left, rows, columns))
        with tiled.shared.collecting((cell.height, cell.width), [cell.interior]):
            if tiled.attempt(batch) is None:
                tiled.halve(min(tiled.tile, max(cell.height, cell.width)))
                return False
    return True
