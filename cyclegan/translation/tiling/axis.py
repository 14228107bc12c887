"""Tile positions and blending weights along one axis of a picture."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

RAMP = 4  # tiles are blended over the middle 1 / RAMP of their overlap


@dataclass(frozen=True)
class Axis:
    """Tiles of `tile` pixels that cover `size` pixels and overlap by at least `overlap`.

    Tiles and their interiors, the pixels that no other tile counts, begin at multiples of `multiple`, the stride of the
    network; `size` and `tile` are such multiples too. The last tile ends with the picture; the remainder makes all
    overlaps a little wider.
    """

    size: int
    tile: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        assert self.size % self.multiple == self.tile % self.multiple == 0, self
        assert 0 <= self.overlap < self.tile, self

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each tile."""
        if self.size <= self.tile:
            return (0,)
        step = (self.tile - self.overlap) // self.multiple * self.multiple
        assert step > 0, self
        room = self.size - self.tile
        steps = -(-room // step)
        return tuple(room * number // steps // self.multiple * self.multiple for number in range(steps + 1))

    @property
    def extent(self) -> int:
        """Length of each tile: that of the picture if it is smaller than a tile."""
        return min(self.tile, self.size)

    @cached_property
    def _seams(self) -> list[tuple[float, float]]:
        """Centre of each overlap and half the width of its blending ramp, between the two edges of the picture."""
        pairs = ((first + self.tile, second) for first, second in itertools.pairwise(self.starts))
        return [(0, 0), *(((end + start) / 2, (end - start) / RAMP / 2) for end, start in pairs), (self.size, 0)]

    def span(self, number: int) -> tuple[int, int]:
        """Pixels of the picture at which tile `number` has a weight above 0."""
        (first, rise), (last, fall) = self._seams[number : number + 2]
        return math.floor(first - rise), math.ceil(last + fall)

    def weights(self, number: int) -> np.ndarray:
        """Weights of tile `number` over its span, float32; all tiles' weights sum to 1 everywhere.

        They rise from 0 to 1 along half a cosine in the middle of an overlap. The outer part, which the mirrored edge
        of the tile affects, has weight 0.
        """
        centres = np.arange(*self.span(number)) + 0.5
        before, after = self._seams[number : number + 2]
        return (_risen(centres, *before) * (1 - _risen(centres, *after))).astype(np.float32)

    def interior(self, number: int) -> tuple[int, int]:
        """Interior of tile `number`; the interiors of all tiles partition the axis."""
        first, last = (int(middle) // self.multiple * self.multiple for middle, _ in self._seams[number : number + 2])
        return first, last


def _risen(at: np.ndarray, middle: float, half: float) -> np.ndarray:
    """Cosine ramp from 0 at `middle` − `half` to 1 at `middle` + `half`."""
    share = np.clip((at - middle) / (2 * half) + 0.5, 0, 1) if half else (at >= middle).astype(float)
    return (1 - np.cos(np.pi * share)) / 2


def rounded(pixels: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-pixels // multiple) * multiple
