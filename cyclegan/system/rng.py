"""Random numbers keyed by picture, not by order of calls.

A draw for a picture depends only on the seed, the step, and the picture's place in the batch. So the result is the
same however a batch is divided: among processes, into accumulated parts, or not at all.

    with rng.at(Draws(seed=0, step=7, first=2, count=2, total=4)):
        rng.uniform(2)  # for the third and the fourth picture of four

Outside such a context torch's global generator is used, as when a loss is computed by hand.
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
    """Random draws at `step` for pictures `first` to `first + count` of a batch of `total`.

    Each call takes fresh numbers. Parts of one batch agree if they make the same calls in the same order. A call for
    more than `count` pictures means several groups of the same places, such as real pictures and then as many fakes.
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
            # a stream for every call and place, without generating the earlier ones
            group, picture = divmod(row, self.count)
            counter = np.array([0, group, self.calls, self.first + picture], np.uint64)
            stream = np.random.Generator(np.random.Philox(key=self.key, counter=counter))
            numbers[row] = draw(stream)
        self.calls += 1
        return torch.from_numpy(numbers)


_current: ContextVar[Draws | None] = ContextVar("draws", default=None)


@contextlib.contextmanager
def at(draws: Draws | None) -> Iterator[None]:
    """Take the random numbers of this context from `draws`, for batches of its pictures; None: torch's generator."""
    token = _current.set(draws)
    try:
        yield
    finally:
        _current.reset(token)


def uniform(pictures: int, *shape: int) -> Tensor:
    """Numbers in [0, 1), pictures × shape, float32 on the CPU: the same for every compute device."""
    current = _current.get()
    return torch.rand(pictures, *shape) if current is None else current.uniform(pictures, *shape)


def normal(pictures: int, *shape: int) -> Tensor:
    """Numbers of N(0, 1), pictures × shape, float32 on the CPU: the same for every compute device."""
    current = _current.get()
    return torch.randn(pictures, *shape) if current is None else current.normal(pictures, *shape)


def integers(high: int, pictures: int, *shape: int) -> Tensor:
    """Integers from 0 to `high` - 1, pictures × shape, int64; `high` is below 2^24."""
    assert 0 < high < 2**24, high
    return (uniform(pictures, *shape) * high).long().clamp_(max=high - 1)


def place() -> tuple[int, int]:
    """First place of the current part of a batch, and the size of that batch; (0, 1) outside `at`."""
    current = _current.get()
    return (0, 1) if current is None else (current.first, current.total)
