"""Conversions of pixel values in tensors: uint8, [-1, 1] and full precision."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(pictures: Tensor) -> Tensor:
    """uint8, or floats in [0, 1] -> float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1 if pictures.dtype == torch.uint8 else pictures.float() * 2 - 1


def to_bytes(unit: Tensor) -> Tensor:
    """[-1, 1] -> uint8, rounded to nearest, as a picture file would hold it."""
    return ((unit + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def full_precision(x: Tensor) -> Tensor:
    """`x` in fp32, or unchanged if it has at least that precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
