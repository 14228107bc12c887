"""The processes that train together: what each has to know of the others, in one place.

torchrun starts as many processes as there are devices and tells each its rank. All hold the same networks and see
different pictures of one batch; averaged gradients keep the networks equal. So a process decides alone whatever follows
from equal values, and asks here where it does not: what is read from a clock, a disk or a signal. Networks, losses and
methods know nothing of it.

Rank 0 is the first: it alone writes. A process that is lost, or cannot be heard for --timeout seconds, ends the others:
there is a state to go on from, and a number of processes that may be another.
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
    """Another process ended, or does not answer."""


class Ranks(Protocol):
    """The processes that train together, as one of them sees them."""

    rank: int
    world: int  # how many they are
    data: dist.ProcessGroup | None  # that tensors of the device travel by; None: as everything does

    def device(self, name: str) -> torch.device:
        """The device of `--device`, of which each process on a machine has its own."""

    def connect(self, device: torch.device) -> None:
        """Make ready to exchange tensors of `device`; all processes at once."""

    def raise_on_all(self, do: Callable[[], T]) -> T:
        """What `do` returns here. Where it raises a `CycleganError` in any process it does in all, and one says it."""

    def on_rank_zero(self, do: Callable[[], T]) -> T:
        """What `do` returns, or the `CycleganError` it raises, in the first process, which alone calls it."""

    def all_gather(self, value: T) -> list[T]:
        """The `value` of each process, in the order of ranks."""

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each process, in the order of ranks, for the first; the others get an empty list."""

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The means of `figures`, which have the same names everywhere."""

    def all_reduce_max(self, number: float) -> float:
        """The greatest `number` that any process gives."""

    def delayed_max(self, number: float) -> float:
        """As `most`, of the numbers given at the call before: so that nobody waits. 0 at the first call."""

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """`do(batch)`, of a function that treats each picture by itself; each process does a part, all get all."""

    def average(self, parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
        """Begin to average gradients and a loss; see `cyclegan.training.update.step.Average`."""

    def broadcast(self, module: nn.Module) -> None:
        """Give `module` the first process's weights and buffers."""


class SingleProcess:
    """A process that trains alone."""

    rank = 0
    world = 1
    data: dist.ProcessGroup | None = None

    def device(self, name: str) -> torch.device:
        """The device of `--device`."""
        return pick_device(name)

    def connect(self, device: torch.device) -> None:
        """Nobody to exchange with."""

    def raise_on_all(self, do: Callable[[], T]) -> T:
        """What `do` returns."""
        return do()

    on_rank_zero = raise_on_all

    def all_gather(self, value: T) -> list[T]:
        """The `value`."""
        return [value]

    gather = all_gather

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures."""
        return dict(figures)

    def all_reduce_max(self, number: float) -> float:
        """The number."""
        return number

    delayed_max = all_reduce_max

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """`do(batch)`."""
        return do(batch)

    def average(self, parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
        """Nothing to average."""
        return no_average(parameters, loss)

    def broadcast(self, module: nn.Module) -> None:
        """Nothing to give."""
