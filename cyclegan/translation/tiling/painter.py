"""Tiled forward passes with shared normalisation statistics, and smaller tiles when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cyclegan.networks import GeneratorLike
from cyclegan.networks.shared_statistics import NormWindow, SharedStatistics
from cyclegan.translation.batching import unless_out_of_memory
from cyclegan.translation.tiling.axis import Axis, rounded
from cyclegan.translation.translator import Translator

# (top, left, height, width) of an area -> its pixels as network input, float32 HWC in [-1, 1]
Show = Callable[[int, int, int, int], np.ndarray]

LEAST = 128  # pixels; a tile that does not fit is halved down to this

log = logging.getLogger("cyclegan")


class Cell(NamedTuple):
    """Position of a tile and its interior: the pixels, padding included, that no other tile counts."""

    row: int
    column: int
    top: int
    left: int
    height: int  # padded to a valid network input
    width: int
    interior: NormWindow


class TiledGenerator:
    """Generator that runs in tiles, with a tile size that only shrinks; one per picture."""

    def __init__(self, translator: Translator, *, tile: int, overlap: int) -> None:
        assert translator.generator.tileable, f"{type(translator.generator).__name__} takes whole pictures only"
        self.translator = translator
        self.shared = SharedStatistics(translator.generator)
        self.multiple, self.smallest = translator.generator.multiple, translator.generator.smallest
        self.tile = fitting(translator, tile)
        self.overlap = overlap

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """Tile positions along the rows and the columns of an area."""
        overlap = min(self.overlap, self.tile // 2)
        rows, columns = (
            Axis(max(rounded(size, self.multiple), self.smallest), self.tile, overlap, self.multiple)
            for size in (height, width)
        )
        return rows, columns

    def cells(self, height: int, width: int) -> Iterator[Cell]:
        """Yield all tiles of an area, row by row."""
        rows, columns = self.axes(height, width)
        for row, top in enumerate(rows.starts):
            upper, lower = rows.interior(row)
            for column, left in enumerate(columns.starts):
                first, last = columns.interior(column)
                interior = NormWindow(upper - top, first - left, lower - top, last - left)
                yield Cell(row, column, top, left, rows.extent, columns.extent, interior)

    def run(self, show: Show, height: int, width: int) -> np.ndarray:
        """Translate an area to float32 HWC in [-1, 1]; `MemoryError` if even the smallest tile does not fit."""
        rows, columns = self.axes(height, width)
        if len(rows.starts) == len(columns.starts) == 1:
            made = self.attempt(as_batch(show(0, 0, height, width)))
            if made is not None:
                return as_picture(made)
            self.halve(min(self.tile, max(height, width)))
            return self.run(show, height, width)
        out = None
        for cell in self.cells(height, width):
            size = min(cell.height, height - cell.top), min(cell.width, width - cell.left)
            answer = self.run(partial(shifted, show, cell.top, cell.left), *size)
            out = np.zeros((height, width, answer.shape[2]), np.float32) if out is None else out
            (top, bottom), (left, right) = rows.span(cell.row), columns.span(cell.column)
            weights = rows.weights(cell.row)[:, None, None] * columns.weights(cell.column)[:, None]
            target = out[top:bottom, left:right]  # without padding, like the answer
            part = answer[top - cell.top : bottom - cell.top, left - cell.left : right - cell.left]
            target += part * weights[: target.shape[0], : target.shape[1]]
        assert out is not None
        return out

    def attempt(self, batch: Tensor, network: GeneratorLike | None = None) -> Tensor | None:
        """Run NCHW through the network with shared statistics, or another; None if it does not fit in memory."""
        device, network = self.translator.device, network or self.shared.network
        return unless_out_of_memory(lambda: self.translator.unit(batch.to(device), network), device)

    def halve(self, failed: int) -> None:
        """Halve the tile size that failed; `MemoryError` if it was the smallest."""
        smaller = fitting(self.translator, max(failed // 2, LEAST))
        if smaller >= failed:
            raise MemoryError(f"not enough memory for a tile of {failed}×{failed} pixels")
        self.tile = smaller
        log.warning("a tile of %d×%d pixels does not fit in memory; going on with %d", failed, failed, smaller)


def fitting(translator: Translator, tile: int) -> int:
    """Round a tile size up to the generator's stride; at least two strides, for an overlap."""
    multiple = translator.generator.multiple
    return max(rounded(tile, multiple), 2 * multiple, translator.generator.smallest)


def as_batch(shown: np.ndarray) -> Tensor:
    """float32 HWC -> 1CHW."""
    return torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1)[None]


def as_picture(made: Tensor) -> np.ndarray:
    """1CHW on any device -> float32 HWC."""
    picture: np.ndarray = made[0].permute(1, 2, 0).cpu().numpy()
    return picture


def shifted(show: Show, top: int, left: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Call `show` with coordinates relative to `top` and `left`."""
    return show(top + y, left + x, height, width)
