"""Which pictures go through the network together: chosen by device, kind and size, fewer where they do not fit.

Nothing here knows where pictures come from or where they go: the files of a folder, or the requests of a server.
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
Kind = tuple[tuple[int, ...], Hashable]  # height, width and what else there is of a shape; type: see `Picture.kind`

BYTES = 2**28  # of pictures that wait in one place: 40 of two megapixels, or three of a large camera
MOST = 32
# Measured with resnet_9blocks × 64 on two cores, fp32: eight pictures of 32² together are 3.5 × as fast as one by one,
# of 64² twice, of 128² 1.2 ×; of 256² and 512² nothing is gained. So: company up to the pixels of one of 256².
PROCESSOR_PIXELS, PROCESSOR_MOST = 256**2, 8
# A GPU is busy with far fewer pixels than this; beyond, the pictures of a batch would only wait for each other.
GPU_PIXELS = MOST * 256**2
SHARE = 4  # of the free memory a batch may take one part: two are in work at once, and the estimate is only one
PROBE = 256  # the side of the picture that is measured; the smallest that no network here pads
ROUNDS = 4  # a folder is cut into no fewer batches than this, or nothing would be left to overlap

log = logging.getLogger("cyclegan")


@dataclass
class ItemBatch(Generic[T]):
    """Items of one kind, to be computed together."""

    size: Size | None  # None: this is one that goes by itself
    began: float  # when the first of them came
    items: list[T] = field(default_factory=list)
    nbytes: int = 0


class Batcher(Generic[T]):
    """Items that come one by one, given out in batches of one kind, as many at a time as `sizes` says.

    Those that wait for others of their kind are at most twice the largest batch, and at most `BYTES`; what was begun
    first has to go before there are more, full or not, and so has what was begun `patience` seconds ago. Batches leave
    in the order in which that was decided. `clock` counts these seconds. Any thread may call.
    """

    def __init__(
        self, sizes: BatchSizes, *, patience: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sizes, self._patience, self._clock = sizes, patience, clock
        self._waiting: dict[Kind, ItemBatch[T]] = {}  # in the order in which they were begun
        self._count = self._bytes = 0  # of what waits
        self._ready: deque[ItemBatch[T]] = deque()
        self._came = threading.Condition()

    @property
    def ready(self) -> bool:
        """Whether a batch has been decided on that was not taken yet."""
        return bool(self._ready)

    def add(self, item: T, kind: Kind, nbytes: int) -> None:
        """Take in an item of `kind`, which holds so many bytes."""
        size = kind[0][0], kind[0][1]
        with self._came:
            batch = self._waiting.setdefault(kind, ItemBatch(size, self._clock()))
            batch.items.append(item)
            batch.nbytes += nbytes
            self._count += 1
            self._bytes += nbytes
            if len(batch.items) >= self._sizes[size]:
                self._decide(kind)
            while self._count > 2 * self._sizes.most or self._bytes > BYTES:
                self._decide_oldest()
            self._came.notify()

    def add_alone(self, item: T, *, first: bool = False) -> None:
        """Take in an item that is to be computed by itself, with nothing beside it; `first`: before all others."""
        with self._came:
            batch = ItemBatch(None, self._clock(), [item])
            if first:
                self._ready.appendleft(batch)
            else:
                self._ready.append(batch)
            self._came.notify()

    def take(self, *, idle: bool = True, partial: bool = True) -> ItemBatch[T] | None:
        """The batch to compute next; None if there is none for now.

        What goes alone is given out only to what is `idle`. With `partial`, and where nothing else is ready, it is
        the batch that was begun first: nothing is gained by waiting for company.
        """
        with self._came:
            while self._waiting and self._clock() - self._oldest().began >= self._patience:
                self._decide_oldest()
            if partial and self._waiting and not self._ready:
                self._decide_oldest()
            if not self._ready or (self._ready[0].size is None and not idle):
                return None
            batch = self._ready.popleft()
            if batch.size is None:
                return batch
            most = self._sizes[batch.size]  # which may be less than when it was decided on
            if rest := batch.items[most:]:
                self._ready.appendleft(replace(batch, items=rest))
            return replace(batch, items=batch.items[:most])

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is something to take, for so many seconds at most; whether there is."""
        with self._came:
            return self._came.wait_for(lambda: bool(self._ready or self._waiting), timeout)

    def _oldest(self) -> ItemBatch[T]:
        return next(iter(self._waiting.values()))

    def _decide_oldest(self) -> None:
        self._decide(next(iter(self._waiting)))

    def _decide(self, kind: Kind) -> None:
        batch = self._waiting.pop(kind)
        self._count -= len(batch.items)
        self._bytes -= batch.nbytes
        self._ready.append(batch)


class BatchSizes:
    """How many pictures of each size are computed at a time, in a job of `pictures` pictures; None: no end of them.

    `wanted` as given; None chooses. On a processor as many as have the pixels of one picture of 256², at most 8. On a
    CUDA device at most 32, no more than have the pixels of 32 of 256², and no more than fit in a quarter of the
    memory that is free, as judged by translating one grey picture of 256² and taking what it allocated at its peak,
    workspaces of convolutions included, as proportional to the pixels. Elsewhere 1.
    """

    def __init__(self, translator: Translator, wanted: int | None, pictures: int | None) -> None:
        assert wanted is None or wanted >= 1, wanted
        self._translator = translator
        self._wanted = wanted
        self._rounds = MOST if pictures is None else max(1, pictures // ROUNDS)
        self._sizes: dict[Size, int] = {}
        self._bytes_per_pixel: float | None = None
        self._said = False
        self.most = wanted or _MOST.get(translator.device.type, 1)  # whatever the size

    def __getitem__(self, size: Size) -> int:
        """How many pictures of this height and width to compute at a time."""
        if size not in self._sizes:
            choose = _BY_DEVICE.get(self._translator.device.type, lambda sizes, size: 1)
            self._sizes[size] = self._wanted or min(choose(self, size), self._rounds)
        return self._sizes[size]

    def fit(
        self, attempt: Callable[[Sequence[Picture]], Sequence[T] | None], pictures: Sequence[Picture]
    ) -> list[T | None]:
        """What `attempt` makes of pictures of one size that have just run out of memory together.

        It returns None for want of memory. The batch is halved until it fits, and the size that does is kept for
        pictures like these; a picture that does not fit alone gets None. Said once in a job.
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
        device, pixels = self._translator.device, size[0] * size[1]
        # What torch keeps cached from earlier work is as good as free
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = (torch.cuda.mem_get_info(device)[0] + cached) / SHARE
        return int(max(1, min(MOST, GPU_PIXELS / pixels, room / (self._bytes_per_pixel * pixels))))


_MOST = {"cpu": PROCESSOR_MOST, "cuda": MOST}
# What knows how many suit a device; on others pictures go one by one.
_BY_DEVICE: dict[str, Callable[[BatchSizes, Size], int]] = {
    "cpu": BatchSizes._for_processor,
    "cuda": BatchSizes._for_gpu,
}


def _measured(translator: Translator) -> float:
    """Bytes per pixel that translating takes on a CUDA device at its peak; without end if one picture does not fit."""
    device = translator.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    picture = np.full((PROBE, PROBE, translator.in_channels), 127, np.uint8)
    if try_batch(translator, [picture]) is None:
        release_memory(device)
        return float("inf")
    return max(1, torch.cuda.max_memory_allocated(device) - before) / PROBE**2


def try_batch(translator: Translator, pictures: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """The translations, or None if they do not fit in the memory together.

    The error goes no further than this, since its traceback holds what the failed attempt had allocated.
    """
    try:
        return translator.batch(pictures)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def too_large(height: int, width: int) -> str:
    """The reason given for a picture that does not fit in the memory by itself."""
    return f"{width}×{height} pixels are more than fit in the memory; scale it down, or use another --device"


def release_memory(device: torch.device) -> None:
    """Give back what a failed attempt left: cyclic garbage, and on a CUDA device the blocks torch keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# Parts of what allocators and libraries say. Not "memory" alone: an illegal memory access is no want of memory.
_SIGNS = ("out of memory", "not enough memory", "allocate", "alloc_failed")


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error means that memory has run out, whatever library says so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)
