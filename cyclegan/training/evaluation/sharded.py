"""Looking at generators in mid-run: shared out among processes, and broken off when the run is asked to stop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from cyclegan.errors import CycleganError
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.translation import Translator


class Stopping(Protocol):
    """Whether the run has been asked to stop."""

    def __bool__(self) -> bool: ...


class StopRequested(Exception):
    """The run was asked to stop in the middle of a look."""


def require_same(pictures: Iterable[ImageSet], ranks: Ranks) -> None:
    """`CycleganError` in all processes where they cannot read the same ones of `pictures`."""
    if ranks.world > 1:
        names = ranks.raise_on_all(lambda: [squares.read().names for squares in pictures])
        if any(others != names for others in ranks.all_gather(names)):
            error = CycleganError("not every process can read the same held-out pictures")
            error.raised_on_all = True
            raise error


class ShardedTranslator:
    """A translator of which each process of `ranks` does a part of every batch.

    It gives up when the run is asked to stop, in any of them: a batch queue kills what takes long over it.
    """

    def __init__(self, translator: Translator, stop: Stopping, ranks: Ranks) -> None:
        self.translator = translator
        self.stop = stop
        self.ranks = ranks
        self.device = translator.device

    def unit(self, batch: Tensor) -> Tensor:
        """NCHW in [-1, 1] -> NCHW in [-1, 1], all of it in every process."""
        if self.ranks.all_reduce_max(bool(self.stop)):
            raise StopRequested
        return self.ranks.map_sharded(self._unit, batch)

    def _unit(self, batch: Tensor) -> Tensor:
        try:
            return self.translator.unit(batch)
        except torch.OutOfMemoryError as error:  # of one process, which the others are to hear of
            raise CycleganError(f"out of memory: {error}") from error
