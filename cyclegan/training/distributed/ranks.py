"""Collectives of data-parallel training: everything that a rank has to know of the others.

torchrun starts as many processes as there are devices and gives each its rank. All hold the same networks and see
different pictures of one batch; averaged gradients keep the networks equal. So a rank decides alone whatever follows
from equal values, and uses these collectives for the rest: readings of a clock, a disk or a signal. Networks, losses
and methods know nothing of it.

Rank 0 alone writes. A process that is lost, or does not answer for --timeout seconds, ends the others: there is a state
to resume from, with any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cyclegan.errors import CycleganError
from cyclegan.system.devices import pick_device
from cyclegan.training.update.step import no_average

T = TypeVar("T")


class LostError(CycleganError):
    """Another process has ended or does not answer."""


class Ranks(Protocol):
    """The ranks of a run, from the view of one of them."""

    rank: int
    world: int  # number of ranks
    data: dist.ProcessGroup | None  # for tensors of the device; None: the default group

    def device(self, name: str) -> torch.device:
        """The device of this rank for `--device`; each on a machine has its own."""

    def connect(self, device: torch.device) -> None:
        """Prepare the exchange of tensors of `device`; called by all ranks at once."""

    def raise_on_all(self, do: Callable[[], T]) -> T:
        """The result of `do` on this rank. A `CycleganError` on any rank is raised on all, and reported once."""

    def on_rank_zero(self, do: Callable[[], T]) -> T:
        """The result of `do`, or its `CycleganError`, on all ranks; rank 0 alone calls it."""

    def all_gather(self, value: T) -> list[T]:
        """The `value` of each rank, in their order."""

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each rank, in their order, on rank 0; an empty list on the others."""

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The means of `figures`, which have the same names on each rank."""

    def all_reduce_max(self, number: float) -> float:
        """The greatest `number` of any rank."""

    def delayed_max(self, number: float) -> float:
        """As `all_reduce_max`, of the numbers of the call before, so that no rank waits. 0 at the first call."""

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """`do(batch)` for a function of single pictures: each rank does a part, and all get the whole."""

    def average(self, parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
        """Begin to average gradients and a loss over ranks; see `cyclegan.training.update.step.Average`."""

    def broadcast(self, module: nn.Module) -> None:
        """Give `module` the weights and buffers of rank 0."""


class SingleProcess:
    """The only process of a run."""

    rank = 0
    world = 1
    data: dist.ProcessGroup | None = None

    def device(self, name: str) -> torch.device:
        return pick_device(name)

    def connect(self, device: torch.device) -> None:
        return None

    def raise_on_all(self, do: Callable[[], T]) -> T:
        return do()

    on_rank_zero = raise_on_all

    def all_gather(self, value: T) -> list[T]:
        return [value]

    gather = all_gather

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        return dict(figures)

    def all_reduce_max(self, number: float) -> float:
        return number

    delayed_max = all_reduce_max

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        return do(batch)

    def average(self, parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
        return no_average(parameters, loss)

    def broadcast(self, module: nn.Module) -> None:
        return None
