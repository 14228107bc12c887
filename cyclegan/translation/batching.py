"""Work that threads do ahead or behind, bounded by the number of pictures and by their bytes."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch

from cyclegan.images import Picture
from cyclegan.translation.jobs import Job
from cyclegan.translation.translator import Translator

R = TypeVar("R")

BYTES = 2**28  # of pictures that wait in one place: 40 of two megapixels, or three of a large camera


class Backlog(Generic[R]):
    """Tasks of jobs in `threads` threads, oldest first, of which no more should be under way than is sensible.

    `full` says when to add no more: at `most` tasks, or when the pictures they hold come to `BYTES`; but never with
    less than two, so that a picture too large for the bound is worked on all the same. A task holds the bytes it was
    added with until it is done, and then those of its result, by `size_of`.
    """

    def __init__(self, threads: int, most: int, size_of: Callable[[R], int] = lambda result: 0) -> None:
        self.tasks: dict[Future[R], Job] = {}  # in the order in which they were added
        self._pool = ThreadPoolExecutor(threads)
        self._weights: dict[Future[R], int] = {}
        self._most = most
        self._size_of = size_of
        # The bytes of the last result, which the next are taken to have. Before there is one, each thread gets a task.
        self._latest = -(-BYTES // threads)

    @property
    def full(self) -> bool:
        """Whether nothing should be added for now."""
        count = len(self.tasks)
        return count >= self._most or (count >= 2 and sum(map(self._weight, self.tasks)) >= BYTES)

    def add(self, job: Job, task: Callable[..., R], *arguments: object, weight: int = 0) -> None:
        """Have `task(*arguments)` done, which holds `weight` bytes until then."""
        future = self._pool.submit(task, *arguments)
        self.tasks[future] = job
        self._weights[future] = weight

    def pop_first(self) -> tuple[Job, R] | None:
        """The job that was added first, and its result; None while it is not done. Raises what the task raised."""
        first = next(iter(self.tasks), None)
        return None if first is None or not first.done() else self._pop(first)

    def finished(self) -> list[tuple[Job, R]]:
        """All that are done, and their results. Raises what a task raised."""
        return [self._pop(future) for future in list(self.tasks) if future.done()]

    def close(self, *, finish: bool = False) -> None:
        """Let the threads go, after what they are at, or after all that was added."""
        self._pool.shutdown(cancel_futures=not finish)

    def _pop(self, future: Future[R]) -> tuple[Job, R]:
        del self._weights[future]
        job, result = self.tasks.pop(future), future.result()
        self._latest = self._size_of(result) or self._latest
        return job, result

    def _weight(self, future: Future[R]) -> int:
        if future.done() and future.exception() is None:
            return self._size_of(future.result())
        return self._weights[future] or self._latest


T = TypeVar("T")

Size = tuple[int, int]  # height, width

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


class BatchSizes:
    """How many pictures of each size are computed at a time, in a job of `pictures` pictures.

    `wanted` as given; None chooses. On a processor as many as have the pixels of one picture of 256², at most 8. On a
    CUDA device at most 32, no more than have the pixels of 32 of 256², and no more than fit in a quarter of the
    memory that is free, as judged by translating one grey picture of 256² and taking what it allocated at its peak,
    workspaces of convolutions included, as proportional to the pixels. Elsewhere 1.
    """

    def __init__(self, translator: Translator, wanted: int | None, pictures: int) -> None:
        assert wanted is None or wanted >= 1, wanted
        self._translator = translator
        self._wanted = wanted
        self._rounds = max(1, pictures // ROUNDS)
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
