"""Networks whose results are known, and pictures in folders, for tests of translating many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from cyclegan.translation import Translator


class Negative(nn.Module):
    """A generator whose result is known."""

    def forward(self, x: Tensor) -> Tensor:
        return -x


class Small(nn.Module):
    """Has memory for some values at a time, and says in the words given when that is not enough."""

    def __init__(self, values: int, error: Exception) -> None:
        super().__init__()
        self.values, self.error = values, error
        self.computed: list[int] = []  # the sizes of batches that fitted
        self.refused: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > self.values:
            self.refused.append(len(x))
            raise self.error
        self.computed.append(len(x))
        return -x


def fp32(network: nn.Module) -> Translator:
    """A translator that computes exactly."""
    return Translator(network, device="cpu", precision="fp32")


def picture(path: Path, size: tuple[int, int] = (6, 4), seed: int = 0, **options: object) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
