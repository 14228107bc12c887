"""Memory that is written before it is read and forgotten after."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

_local = threading.local()


def scratch(name: str, *shape: int) -> Tensor:
    """An fp32 tensor for this thread, the same memory at each call with `name`, so that it stays in the cache.

    Fresh memory would have to be fetched from the operating system page by page, which takes longer than the use.
    """
    size = math.prod(shape)
    held: dict[str, Tensor] = _local.__dict__
    if name not in held or held[name].numel() < size:
        with torch.inference_mode(False):  # what is made in that mode could not be written to outside it
            held[name] = torch.empty(size)
    return held[name][:size].view(shape)


def by_plane(weight: Tensor) -> Tensor:
    """O,C,k,k -> (O · k², C): the matrix that makes a plane for each output and position."""
    return weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def bands(height: int, width: int, planes: int, numbers: int) -> list[tuple[int, int]]:
    """First and last row of bands in which `planes` planes hold about `numbers` numbers, at least four rows each."""
    rows = max(numbers // (planes * width), 4)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
