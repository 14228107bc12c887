"""Networks whose results are known, and pictures in folders, for tests of translating many."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from cyclegan.networks import GeneratorLike
from cyclegan.translation import Translator
from cyclegan.translation.job.naming import RECORD
from tests.support.pictures import random_pixels


class Plain(nn.Module):
    """A network that takes colours of any size, whole or in tiles."""

    in_channels = out_channels = 3
    multiple = smallest = 1
    tileable = True


class Negative(Plain):
    """A generator whose result is known."""

    def forward(self, x: Tensor) -> Tensor:
        return -x


class Weighted(Plain):
    """A negative with a weight, by which one is told from another."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(Tensor([-weight]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Small(Plain):
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


def fp32(network: GeneratorLike) -> Translator:
    """A translator that computes exactly."""
    return Translator(network, device="cpu", precision="fp32")


def picture(path: Path, size: tuple[int, int] = (6, 4), seed: int = 0, **options: object) -> np.ndarray:
    pixels = random_pixels(*size, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def files(folder: Path) -> list[str]:
    """The files below `folder`, without the record of the job; also while that job makes and removes folders."""
    found: list[str] = []
    for place, folders, names in os.walk(folder):  # which passes over what is gone when it comes to it
        folders[:] = [name for name in folders if name != RECORD]
        found += (Path(place, name).relative_to(folder).as_posix() for name in names if name != RECORD)
    return sorted(found)


def record(folder: Path) -> list[str]:
    """The names of what a job has left beside its translations."""
    return sorted(path.relative_to(folder / RECORD).as_posix() for path in (folder / RECORD).rglob("*"))


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file that this process writes may become larger than `size` bytes, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
