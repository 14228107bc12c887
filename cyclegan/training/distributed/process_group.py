"""Ranks of a distributed run, by torch's process groups; see `cyclegan.training.distributed.ranks`."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from cyclegan.errors import CycleganError, UsageError
from cyclegan.system.devices import pick_device
from cyclegan.training.distributed.ranks import LostError, Ranks, SingleProcess

T = TypeVar("T")

LAUNCHER = "_CYCLEGAN_LAUNCHER"  # the variable that holds the number of the process of --nproc

_opened = itertools.count()


class TorchProcesses(Ranks):
    """One of `world` ranks; `place` is its local rank, gradients are averaged as `gradient_dtype`."""

    def __init__(
        self, rank: int, world: int, place: int, timeout: timedelta, gradient_dtype: torch.dtype | None
    ) -> None:
        self.rank = rank
        self.world = world
        self.place = place
        self.timeout = timeout
        self.gradient_dtype = gradient_dtype
        self.data: dist.ProcessGroup | None = None  # for tensors of the device; None: the default group
        self._asked: tuple[Tensor, dist.Work] | None = None

    def device(self, name: str) -> torch.device:
        """The device of `--device`; of the GPUs of a machine the one of the local rank."""
        device = pick_device(name)
        if device.type == "mps":
            raise UsageError(f"--device {name}: several processes cannot share a Mac's GPU; give --device cpu")
        if device.type == "cpu":
            return device
        count = torch.cuda.device_count()
        if device.index is not None:
            raise UsageError(f"--device {name}: each process takes the GPU of its own number; give --device cuda")
        if self.place >= count:
            raise UsageError(
                f"this machine has {count} CUDA devices for more processes than that; start at most {count} "
                "(--nproc, or torchrun --nproc-per-node), or give --device cpu"
            )
        return torch.device("cuda", self.place)

    def connect(self, device: torch.device) -> None:
        """Make an NCCL group for GPUs."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
            with _translate_errors():
                group = dist.new_group(backend="nccl", timeout=self.timeout, device_id=device)
            assert isinstance(group, dist.ProcessGroup), "every process is in it"
            self.data = group

    def raise_on_all(self, do: Callable[[], T]) -> T:
        """Raise the error of the lowest rank that has one, on all."""
        result: list[T] = []
        error: CycleganError | None = None
        try:
            result = [do()]
        except CycleganError as raised:
            error = raised
        for rank, packed in enumerate(self.all_gather(None if error is None else _pack(error))):
            if packed is not None:
                raise _unpack(packed, reported=rank != self.rank)
        return result[0]

    def on_rank_zero(self, do: Callable[[], T]) -> T:
        """Broadcast the result or the error of `do`."""
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = do()
            except CycleganError as error:
                answer[1] = _pack(error)
        with _translate_errors():
            dist.broadcast_object_list(answer)
        if answer[1] is not None:
            raise _unpack(answer[1], reported=self.rank != 0)
        value: T = answer[0]
        return value

    def all_gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.world
        with _translate_errors():
            dist.all_gather_object(values, value)
        return values

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] | None = [None] * self.world if self.rank == 0 else None
        with _translate_errors():
            dist.gather_object(value, values)
        return values or []

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The means, in double precision."""
        sums = torch.tensor(list(figures.values()), dtype=torch.float64)
        with _translate_errors():
            dist.all_reduce(sums)
        return dict(zip(figures, (sums / self.world).tolist(), strict=True))

    def all_reduce_max(self, number: float) -> float:
        greatest = torch.tensor(number, dtype=torch.float64)
        with _translate_errors():
            dist.all_reduce(greatest, dist.ReduceOp.MAX)
        return float(greatest)

    def delayed_max(self, number: float) -> float:
        """The greatest of the numbers before, which have had the time of a step to arrive."""
        with _translate_errors():
            before = 0.0
            if self._asked is not None:
                greatest, work = self._asked
                work.wait()
                before = float(greatest)
            greatest = torch.tensor(number, dtype=torch.float64)
            work = dist.all_reduce(greatest, dist.ReduceOp.MAX, async_op=True)
        self._asked = greatest, work
        return before

    def map_sharded(self, do: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Equal parts; where the batch does not divide, the last picture is done more than once."""
        each = -(-len(batch) // self.world)
        places = torch.arange(self.rank * each, (self.rank + 1) * each).clamp_(max=len(batch) - 1)
        mine = self.raise_on_all(lambda: do(batch[places.to(batch.device)]).contiguous())
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        with _translate_errors():
            dist.all_gather(parts, mine, group=None if mine.device.type == "cpu" else self.data)
        return torch.cat(parts)[: len(batch)]

    def average(self, parameters: list[nn.Parameter], loss: Tensor) -> Callable[[], Tensor]:
        """All gradients and the loss in one message: a round trip for each would cost more than its bytes."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        kind = self.gradient_dtype or gradients[0].dtype
        flat = torch.cat([tensor.reshape(-1).to(kind) for tensor in (*gradients, loss)])
        with _translate_errors():
            work = dist.all_reduce(flat, group=self.data, async_op=True)

        def wait() -> Tensor:
            with _translate_errors():
                work.wait()
            flat.div_(self.world)
            *pieces, total = flat.split([*(gradient.numel() for gradient in gradients), 1])
            averages = [piece.view(gradient.shape) for piece, gradient in zip(pieces, gradients, strict=True)]
            torch._foreach_copy_(gradients, averages)
            return total.to(loss.dtype).reshape(())

        return wait

    def broadcast(self, module: nn.Module) -> None:
        """One message for each dtype."""
        tensors = [tensor.data for tensor in (*module.parameters(), *module.buffers())]
        for kind in sorted({tensor.dtype for tensor in tensors}, key=str):
            some = [tensor for tensor in tensors if tensor.dtype == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            with _translate_errors():
                dist.broadcast(flat, 0, group=self.data)
            for tensor, piece in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
                tensor.copy_(piece.view(tensor.shape))


def under_torchrun() -> bool:
    """True in a process that torchrun, or a launcher that sets the same variables, started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextlib.contextmanager
def open_ranks(timeout: int, gradient_dtype: torch.dtype | None) -> Iterator[Ranks]:
    """The ranks that torchrun has started with this one, or a `SingleProcess`.

    They wait at most `timeout` seconds for one another. Raises `LostError` when some do not come.
    """
    if not under_torchrun():
        yield SingleProcess()
        return
    rank, world, place = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    limit = timedelta(seconds=timeout)
    log = logging.getLogger("cyclegan")
    quiet = None if rank == 0 else _nothing_below_an_error
    if quiet is not None:
        log.addFilter(quiet)
    _end_with_the_launcher()
    with _translate_errors():
        # Objects are exchanged by gloo, on CPUs, so that no GPU waits for them; under a prefix of its own each time,
        # since keys that a group leaves in the store would mislead the next
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, *_ = next(rendezvous("env://", timeout=limit))
        store.set_timeout(limit)
        dist.init_process_group(
            "gloo",
            store=dist.distributed_c10d.PrefixStore(f"cyclegan-{attempt}-{next(_opened)}", store),
            rank=rank,
            world_size=world,
            timeout=limit,
        )
    ranks = TorchProcesses(rank, world, place, limit, gradient_dtype)
    try:
        yield ranks
    except CycleganError as error:
        error.already_reported = error.already_reported or (error.on_every_rank and rank > 0)
        raise
    finally:
        dist.destroy_process_group()
        if quiet is not None:
            log.removeFilter(quiet)


def _end_with_the_launcher() -> None:
    """Have Linux send SIGTERM when the launcher is killed: nothing else would end this process."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        set_parent_death_signal = 1  # prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):  # it was killed before that
            raise LostError("the process that started this one is gone; run the same command again")


def _nothing_below_an_error(record: logging.LogRecord) -> bool:
    """Log filter of ranks > 0, which would repeat rank 0. Facts of one rank alone have a logger of their own."""
    return record.levelno >= logging.ERROR


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn errors of torch, a broken connection or a timeout, into `LostError` with a sentence."""
    try:
        yield
    except RuntimeError as error:  # base of the distributed errors of torch
        reason = re.sub(r"\[[^\]]*\.(cc|cpp|h):\d+\] *", "", str(error).strip() or type(error).__name__)
        first = re.split(r"[.] |[.]?$", reason, maxsplit=1, flags=re.MULTILINE)[0]
        raise LostError(
            "a process that trains with this one was lost or did not answer in time (--timeout); the last saved state "
            f"is good, run the same command again ({first})"
        ) from error


def _pack(error: CycleganError) -> tuple[Any, ...]:
    # In parts: pickle would call the constructor with the message alone
    return type(error), error.args, vars(error)


def _unpack(packed: tuple[Any, ...], *, reported: bool) -> CycleganError:
    kind, arguments, values = packed
    error: CycleganError = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(values)
    error.already_reported, error.raised_on_all = reported, True
    return error
