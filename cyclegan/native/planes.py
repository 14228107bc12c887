"""Planes: what a product of matrices makes of a picture for every position of a kernel, a band of rows at a time."""

from __future__ import annotations

from torch import Tensor


def by_plane(weight: Tensor) -> Tensor:
    """O,C,k,k -> (O · k², C): the matrix that makes a plane for each output and position."""
    return weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def bands(height: int, width: int, planes: int, numbers: int) -> list[tuple[int, int]]:
    """First and last row of bands in which `planes` planes hold about `numbers` numbers, at least four rows each."""
    rows = max(numbers // (planes * width), 4)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
