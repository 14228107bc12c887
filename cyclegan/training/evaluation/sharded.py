"""Evaluation in mid-run: sharded over ranks, and broken off by a request to stop."""

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
    """True once the run has been asked to stop."""

    def __bool__(self) -> bool: ...


class StopRequested(Exception):
    """The run was asked to stop during an evaluation."""


def require_same(pictures: Iterable[ImageSet], ranks: Ranks) -> None:
    """Raise `CycleganError` on all ranks unless they can read the same `pictures`."""
    if ranks.world > 1:
        names = ranks.raise_on_all(lambda: [images.read().names for images in pictures])
        if any(others != names for others in ranks.all_gather(names)):
            error = CycleganError("not every process can read the same held-out pictures")
            error.raised_on_all = True
            raise error


class ShardedTranslator:
    """A translator of which each of `ranks` does a part of every batch.

    Raises `StopRequested` when any of them is asked to stop: a batch queue kills what takes long over it.
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
        except torch.OutOfMemoryError as error:  # of one rank, which the others must hear of
            raise CycleganError(f"out of memory: {error}") from error
