"""Scaling of pictures to what a network takes: bicubic and antialiased, alike on every side of a comparison."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resize(pictures: Tensor, side: int) -> Tensor:
    """Scale the shorter side of uint8 N × 3 × H × W to `side` pixels, rounded to 8 bits."""
    if min(pictures.shape[-2:]) == side:
        return pictures
    return scale(pictures, side).round().clamp(0, 255).to(torch.uint8)


def scale(pictures: Tensor, side: int) -> Tensor:
    """Scale the shorter side of N × 3 × H × W to `side` pixels: float, not rounded, so that gradients pass."""
    short = min(pictures.shape[-2:])
    if short == side:
        return pictures.float()
    sides = [round(length * side / short) for length in pictures.shape[-2:]]
    return F.interpolate(pictures.float(), sides, mode="bicubic", align_corners=False, antialias=True)
