"""Random numbers that belong to pictures and not to calls.

A draw for a picture follows from the seed, the step, and the place of that picture in the batch. So it makes no
difference how a batch is divided: among processes, into parts that come one after the other, or not at all.

    with rng.at(Draws(seed=0, step=7, first=2, count=2, total=4)):
        rng.uniform(2)  # for the third and the fourth picture of four

Outside of such a context draws come from torch's global generator, for whoever computes a loss by hand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The draws at `step` for one part of a batch of `total` pictures: `count` of them from place `first` on.

    Each call takes fresh numbers. Parts of one batch agree as long as they make the same calls in the same order. More
    than `count` pictures are several times the same ones: real, and then as many fakes.
    """

    def __init__(self, *, seed: int, step: int, first: int, count: int, total: int) -> None:
        assert 0 <= first < first + count <= total, (first, count, total)
        self.key = np.array([seed, step], np.uint64)
        self.first = first
        self.count = count
        self.total = total
        self.calls = 0

    def uniform(self, pictures: int, *shape: int) -> Tensor:
        """Numbers in [0, 1), pictures × shape."""
        return self._drawn(lambda stream: stream.random(shape, np.float32), pictures, shape)

    def normal(self, pictures: int, *shape: int) -> Tensor:
        """Numbers of N(0, 1), pictures × shape."""
        return self._drawn(lambda stream: stream.standard_normal(shape, np.float32), pictures, shape)

    def _drawn(self, draw: Callable[[np.random.Generator], Any], pictures: int, shape: tuple[int, ...]) -> Tensor:
        numbers = np.empty((pictures, *shape), np.float32)
        for row in range(pictures):
            # Philox is a function of key and counter (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405):
            # a stream for every call and place, without running through those before
            again, picture = divmod(row, self.count)
            counter = np.array([0, again, self.calls, self.first + picture], np.uint64)
            stream = np.random.Generator(np.random.Philox(key=self.key, counter=counter))
            numbers[row] = draw(stream)
        self.calls += 1
        return torch.from_numpy(numbers)


_current: ContextVar[Draws | None] = ContextVar("draws", default=None)


@contextlib.contextmanager
def at(draws: Draws | None) -> Iterator[None]:
    """What is drawn inside belongs to the pictures of `draws`, of which every batch inside is to consist; None: torch's
    global generator draws.
    """
    token = _current.set(draws)
    try:
        yield
    finally:
        _current.reset(token)


def uniform(pictures: int, *shape: int) -> Tensor:
    """As many numbers in [0, 1) as pictures × shape, float32 on the processor: the same whatever device computes."""
    current = _current.get()
    return torch.rand(pictures, *shape) if current is None else current.uniform(pictures, *shape)


def normal(pictures: int, *shape: int) -> Tensor:
    """As many numbers of N(0, 1) as pictures × shape, float32 on the processor: the same whatever device computes."""
    current = _current.get()
    return torch.randn(pictures, *shape) if current is None else current.normal(pictures, *shape)


def integers(high: int, pictures: int, *shape: int) -> Tensor:
    """As many whole numbers as pictures × shape, from 0 to `high` - 1, below 2^24, int64."""
    assert 0 < high < 2**24, high
    return (uniform(pictures, *shape) * high).long().clamp_(max=high - 1)


def place() -> tuple[int, int]:
    """Where the batch at hand begins, and of how many pictures it is a part; (0, 1) where nobody says."""
    current = _current.get()
    return (0, 1) if current is None else (current.first, current.total)
