"""Pictures on their way through a translator: read, gathered by size, computed, written, all at the same time.

Reading and writing have threads of their own, so that neither queues behind the other (Pillow leaves Python's lock
while it decodes and encodes, torch while it computes). What is held in memory is bounded, whatever the folder holds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
import torch

from cyclegan.translation.backlog import BYTES, Backlog
from cyclegan.translation.batch_sizes import BatchSizes, Size, try_batch
from cyclegan.translation.jobs import Job, read, write
from cyclegan.translation.translator import Translator

Batch = list[tuple[Job, np.ndarray]]  # pictures of one size, uint8 HWC, and what they belong to

MOST_THREADS = 16  # at either end; a GPU's batch keeps no more busy, and each holds a picture


class Buckets:
    """Pictures that wait for others of their size: at most twice the largest batch, and at most `BYTES`."""

    def __init__(self, sizes: BatchSizes) -> None:
        self._sizes = sizes
        self._waiting: dict[Size, Batch] = {}  # in the order in which they were begun
        self._count = self._bytes = 0

    def add(self, job: Job, picture: np.ndarray) -> list[Batch]:
        """Take a picture in; the batches to compute now, because they are full, or because there is no more room."""
        size: Size = (picture.shape[0], picture.shape[1])
        self._waiting.setdefault(size, []).append((job, picture))
        self._count += 1
        self._bytes += picture.nbytes
        batches = [self._take(size)] if len(self._waiting[size]) >= self._sizes[size] else []
        while self._count > 2 * self._sizes.most or self._bytes > BYTES:
            batches += self.oldest()
        return batches

    def oldest(self) -> list[Batch]:
        """The batch that was begun first, full or not, in a list; an empty list if there is none."""
        return [self._take(next(iter(self._waiting)))] if self._waiting else []

    def _take(self, size: Size) -> Batch:
        batch = self._waiting.pop(size)
        self._count -= len(batch)
        self._bytes -= sum(picture.nbytes for _, picture in batch)
        return batch


class Pipeline:
    """The way of the pictures of one folder, from their files to `settle(job, reason)`; no reason if all went well.

    The thread that calls `run` moves pictures from each stop to the next as soon as that has room, and does nothing
    else. They leave reading in the order of the jobs, so that the same folder makes the same batches every time.

    Two batches are given to the device at a time. A processor computes them one after the other. A GPU has two threads
    with a queue of work each, so that it copies and is told what to do next while it computes. The very first batch
    goes alone: what a network prepares on its first call is then there for both.
    """

    def __init__(
        self, translator: Translator, sizes: BatchSizes, png_level: int, settle: Callable[[Job, str | None], None]
    ) -> None:
        self._translator, self._sizes, self._png_level, self._settle = translator, sizes, png_level, settle
        threads = min(MOST_THREADS, max(2, _processors()))
        most = 2 * max(threads, sizes.most)
        self._reading: Backlog[np.ndarray | str] = Backlog(threads, most, lambda result: getattr(result, "nbytes", 0))
        self._writing: Backlog[str | None] = Backlog(threads, most)
        self._buckets = Buckets(sizes)
        self._ready: deque[Batch] = deque()
        self._computer = _computer(translator)
        self._computing: dict[Future[list[np.ndarray] | None], Batch] = {}
        self._depth, self._deepest = 1, 2

    def run(self, jobs: Iterable[Job]) -> None:
        """All jobs, each settled once. If it fails for another reason than a picture, what is being written is."""
        left = deque(jobs)
        try:
            while awaited := self._move_on(left):
                wait(awaited, return_when=FIRST_COMPLETED)
                for computed in [future for future in self._computing if future.done()]:
                    self._deliver(self._computing.pop(computed), computed.result())
                for job, reason in self._writing.finished():
                    self._settle(job, reason)
        finally:
            self._reading.close()
            self._computer.shutdown(cancel_futures=True)
            self._writing.close(finish=True)

    def _move_on(self, left: deque[Job]) -> list[Future]:
        """Start whatever there is room for, and say for what to wait before there can be more; nothing at the end."""
        while left and not self._reading.full:
            job = left.popleft()
            self._reading.add(job, read, job)
        while not self._ready and (first := self._reading.pop_first()):
            job, picture = first
            if isinstance(picture, str):
                self._settle(job, picture)
            else:
                self._ready += self._buckets.add(job, picture)
        if not (self._ready or self._reading.tasks):
            self._ready += self._buckets.oldest()
        while self._ready and len(self._computing) < self._depth and not self._writing.full:
            batch = self._next_batch()
            pictures = [picture for _, picture in batch]
            self._computing[self._computer.submit(try_batch, self._translator, pictures)] = batch
        next_read = list(self._reading.tasks)[:1] if not self._ready else []
        return [*next_read, *self._computing, *self._writing.tasks]

    def _next_batch(self) -> Batch:
        """The first that is ready, or so much of it as still counts as a batch: the size may have been halved since."""
        batch = self._ready.popleft()
        height, width = batch[0][1].shape[:2]
        if rest := batch[self._sizes[height, width] :]:
            self._ready.appendleft(rest)
        return batch[: self._sizes[height, width]]

    def _deliver(self, batch: Batch, made: list[np.ndarray] | None) -> None:
        """Send what was computed to be written; where it did not fit in the memory, compute it in smaller batches."""
        results: list[np.ndarray | str] = list(made or [])
        if made is None:
            wait(self._computing)  # what else is on the device has to leave first
            results = self._sizes.fit(
                lambda part: self._computer.submit(try_batch, self._translator, part).result(),
                [picture for _, picture in batch],
            )
            if not any(isinstance(result, str) for result in results):
                self._deepest = 1  # they fit, if alone; no second batch beside another from now on
        self._depth = self._deepest
        for (job, _), result in zip(batch, results, strict=True):
            if isinstance(result, str):
                self._settle(job, result)
            else:
                self._writing.add(job, write, job, result, self._png_level, weight=result.nbytes)


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _computer(translator: Translator) -> ThreadPoolExecutor:
    """The thread that computes; on a GPU two, each with a stream of its own.

    Streams do not wait for each other, hence each first waits for what was begun elsewhere: copying the weights. A
    network in training mode is put into evaluation mode for each batch and back, which only one thread may do.
    """
    device = translator.device
    if device.type != "cuda":
        return ThreadPoolExecutor(1)
    index = torch.cuda.current_device() if device.index is None else device.index

    def own_stream() -> None:
        torch.cuda.set_device(index)
        torch.cuda.synchronize()
        torch.cuda.set_stream(torch.cuda.Stream(index))

    return ThreadPoolExecutor(1 if translator.generator.training else 2, initializer=own_stream)
