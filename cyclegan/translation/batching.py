"""Batching of pictures by device, kind and size, with smaller batches when memory runs out.

Nothing here knows where pictures come from or go: files of a folder, or requests of a server.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
import torch

from cyclegan.images import Picture
from cyclegan.translation.translator import Translator

T = TypeVar("T")

Size = tuple[int, int]  # height, width
Kind = tuple[tuple[int, ...], Hashable]  # shape (height, width, …) and type: see `Picture.kind`

BYTES = 2**28  # bound on waiting pictures: 40 of two megapixels, or three of a large camera
MOST = 32
# Measured with resnet_9blocks × 64 on two cores, fp32: eight pictures of 32² together are 3.5 × as fast as one by one,
# of 64² 2 ×, of 128² 1.2 ×; of 256² and 512² nothing is gained. So: batches of up to 256² pixels in total.
PROCESSOR_PIXELS, PROCESSOR_MOST = 256**2, 8
# Far fewer pixels already saturate a GPU; with more, the pictures of a batch would only wait for each other.
GPU_PIXELS = MOST * 256**2
SHARE = 4  # a batch may take 1 / SHARE of the free memory: two are in work at once, and the need is an estimate
PROBE = 256  # side of the measured picture; the smallest that no network here pads
ROUNDS = 4  # least number of batches of a folder, so that reading, computing and writing overlap

log = logging.getLogger("cyclegan")


@dataclass
class ItemBatch(Generic[T]):
    """Items of one kind, to be computed together."""

    size: Size | None  # None: a single item that runs alone
    began: float  # arrival time of the first item
    items: list[T] = field(default_factory=list)
    nbytes: int = 0


class Batcher(Generic[T]):
    """Collect items into batches of one kind, of the size given by `sizes`. Thread-safe.

    At most twice the largest batch and at most `BYTES` wait for others of their kind; beyond that the oldest batch is
    released, full or not, and so is one begun `patience` seconds ago by `clock`. Batches leave in the order of release.
    """

    def __init__(
        self, sizes: BatchSizes, *, patience: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes, self._patience, self._clock = sizes, patience, clock
        self._waiting: dict[Kind, ItemBatch[T]] = {}  # oldest first
        self._count = self._bytes = 0  # of waiting items
        self._ready: deque[ItemBatch[T]] = deque()
        self._came = threading.Condition()

    @property
    def ready(self) -> bool:
        """True if a released batch was not taken yet."""
        return bool(self._ready)

    def add(self, item: T, kind: Kind, nbytes: int) -> None:
        """Add an item of `kind` that holds `nbytes` bytes."""
        size = kind[0][0], kind[0][1]
        with self._came:
            batch = self._waiting.setdefault(kind, ItemBatch(size, self._clock()))
            batch.items.append(item)
            batch.nbytes += nbytes
            self._count += 1
            self._bytes += nbytes
            if len(batch.items) >= self._sizes[size]:
                self._release(kind)
            while self._count > 2 * self._sizes.most or self._bytes > BYTES:
                self._release_oldest()
            self._came.notify()

    def add_alone(self, item: T, *, first: bool = False) -> None:
        """Add an item that must run alone; with `first`, before all others."""
        with self._came:
            add = self._ready.appendleft if first else self._ready.append
            add(ItemBatch(None, self._clock(), [item]))
            self._came.notify()

    def take(self, *, idle: bool = True, partial: bool = True) -> ItemBatch[T] | None:
        """Pop the next batch to compute; None if there is none for now.

        An item that runs alone is given out only if the device is `idle`. With `partial`, if nothing else is ready, the
        oldest incomplete batch is given out: waiting for more gains nothing.
        """
        with self._came:
            while self._waiting and self._clock() - next(iter(self._waiting.values())).began >= self._patience:
                self._release_oldest()
            if partial and self._waiting and not self._ready:
                self._release_oldest()
            if not self._ready or (self._ready[0].size is None and not idle):
                return None
            batch = self._ready.popleft()
            if batch.size is None:
                return batch
            most = self._sizes[batch.size]  # may have shrunk since the release
            if rest := batch.items[most:]:
                self._ready.appendleft(replace(batch, items=rest))
            return replace(batch, items=batch.items[:most])

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for something to take; return whether there is."""
        with self._came:
            return self._came.wait_for(lambda: bool(self._ready or self._waiting), timeout)

    def _release_oldest(self) -> None:
        self._release(next(iter(self._waiting)))

    def _release(self, kind: Kind) -> None:
        batch = self._waiting.pop(kind)
        self._count -= len(batch.items)
        self._bytes -= batch.nbytes
        self._ready.append(batch)


class BatchSizes:
    """Batch size by picture size, for a job of `pictures` pictures (None: unbounded).

    `wanted` overrides it; None chooses. On a CPU: 256² pixels in total, at most 8 pictures. On a CUDA device: 32 × 256²
    pixels in total, at most 32 pictures, and no more than fit in a quarter of the free memory; the need is estimated
    from one grey picture of 256², whose peak allocation, convolution workspaces included, is scaled by pixels.
    Elsewhere 1.
    """

    def __init__(self, translator: Translator, wanted: int | None, pictures: int | None) -> None:
        assert wanted is None or wanted >= 1, wanted
        self._translator = translator
        self._wanted = wanted
        self._rounds = MOST if pictures is None else max(1, pictures // ROUNDS)
        self._sizes: dict[Size, int] = {}
        self._bytes_per_pixel: float | None = None
        self._said = False
        most, self._choose = _BY_DEVICE.get(translator.device.type, (1, lambda sizes, size: 1))
        self.most = wanted or most  # over all sizes

    def __getitem__(self, size: Size) -> int:
        """Batch size for pictures of this height and width."""
        if size not in self._sizes:
            self._sizes[size] = self._wanted or min(self._choose(self, size), self._rounds)
        return self._sizes[size]

    def fit(
        self, attempt: Callable[[Sequence[Picture]], Sequence[T] | None], pictures: Sequence[Picture]
    ) -> list[T | None]:
        """Retry pictures of one size, which ran out of memory together, in smaller batches.

        `attempt` returns None when memory runs out. The batch is halved until it fits, and that size is kept for
        pictures like these; a picture that does not fit alone gets None. Logged once per job.
        """
        height, width = pictures[0].height, pictures[0].width
        size = max(1, min(self[height, width], len(pictures) // 2))
        results: list[T | None] = []
        while len(results) < len(pictures):
            release_memory(self._translator.device)
            made = attempt(pictures[len(results) : len(results) + size])
            if made is not None:
                results += made
            elif size > 1:
                size //= 2
            else:
                results.append(None)
        self._sizes[height, width] = size
        if not self._said and len(pictures) > 1:
            self._said = True
            log.warning(
                "%d pictures of %d×%d pixels do not fit in the memory together; going on with %d at a time",
                *(len(pictures), width, height, size),
            )
        return results

    def _for_processor(self, size: Size) -> int:
        return min(PROCESSOR_MOST, max(1, PROCESSOR_PIXELS // (size[0] * size[1])))

    def _for_gpu(self, size: Size) -> int:
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = _measured(self._translator)
        pixels, room = size[0] * size[1], free_gpu_memory(self._translator.device) / SHARE
        return int(max(1, min(MOST, GPU_PIXELS / pixels, room / (self._bytes_per_pixel * pixels))))


# Largest batch, and that for a size, by device type; on others pictures go one by one.
_BY_DEVICE: dict[str, tuple[int, Callable[[BatchSizes, Size], int]]] = {
    "cpu": (PROCESSOR_MOST, BatchSizes._for_processor),
    "cuda": (MOST, BatchSizes._for_gpu),
}


def free_gpu_memory(device: torch.device) -> int:
    """Free bytes of a CUDA device; memory cached by torch counts as free."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def _measured(translator: Translator) -> float:
    """Peak bytes per pixel of a translation on a CUDA device; infinite if one picture does not fit."""
    device = translator.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    picture = np.full((PROBE, PROBE, translator.in_channels), 127, np.uint8)
    if unless_out_of_memory(lambda: translator.batch([picture]), device) is None:
        return float("inf")
    return max(1, torch.cuda.max_memory_allocated(device) - before) / PROBE**2


def unless_out_of_memory(compute: Callable[[], T], device: torch.device) -> T | None:
    """Call `compute`; None, with the memory of the attempt released, if it does not fit.

    The error is not passed on, since its traceback keeps the tensors of the failed attempt alive.
    """
    try:
        return compute()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory(device)
    return None


def release_memory(device: torch.device) -> None:
    """Free what a failed attempt left: cyclic garbage and torch's cached CUDA blocks."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# Parts of allocators' and libraries' messages. Not "memory" alone: an illegal memory access is another error.
_SIGNS = ("out of memory", "not enough memory", "allocate", "alloc_failed")


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether an error of any library means that memory has run out."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(sign in str(error).lower() for sign in _SIGNS)
