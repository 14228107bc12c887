"""Pictures on their way through a translator: read, gathered by kind, computed, written, all at the same time.

Reading and writing have threads of their own, so that neither queues behind the other (Pillow leaves Python's lock
while it decodes and encodes, torch while it computes). What is held in memory is bounded, whatever the folder holds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch

from cyclegan.images import Picture
from cyclegan.translation.batching import BYTES, Backlog, BatchSizes
from cyclegan.translation.jobs import Failure, Job, PictureIO, TiledPicture
from cyclegan.translation.tiling.single import Single, Written, attempt, nbytes
from cyclegan.translation.translator import Translator

Batch = list[tuple[Job, Picture]]  # pictures of one kind, and what they belong to
Kind = tuple[tuple[int, ...], np.dtype]
T = TypeVar("T")

MOST_THREADS = 16  # at either end; a GPU's batch keeps no more busy, and each holds a picture


class Buckets:
    """Pictures that wait for others of their kind: at most twice the largest batch, and at most `BYTES`."""

    def __init__(self, sizes: BatchSizes) -> None:
        self._sizes = sizes
        self._waiting: dict[Kind, Batch] = {}  # in the order in which they were begun
        self._count = self._bytes = 0

    def add(self, job: Job, picture: Picture) -> list[Batch]:
        """Take a picture in; the batches to compute now, because they are full, or because there is no more room."""
        kind = picture.kind
        self._waiting.setdefault(kind, []).append((job, picture))
        self._count += 1
        self._bytes += nbytes(picture)
        batches = [self._take(kind)] if len(self._waiting[kind]) >= self._sizes[picture.height, picture.width] else []
        while self._count > 2 * self._sizes.most or self._bytes > BYTES:
            batches += self.oldest()
        return batches

    def oldest(self) -> list[Batch]:
        """The batch that was begun first, full or not, in a list; an empty list if there is none."""
        return [self._take(next(iter(self._waiting)))] if self._waiting else []

    def _take(self, kind: Kind) -> Batch:
        batch = self._waiting.pop(kind)
        self._count -= len(batch)
        self._bytes -= sum(nbytes(picture) for _, picture in batch)
        return batch


@dataclass(frozen=True)
class Listener:
    """Who is told what becomes of the pictures, in the thread that runs the pipeline."""

    settle: Callable[[Job, Failure | None], None]  # once for each picture; None: its translation is in its place
    note: Callable[[str], None] = lambda text: None  # what was left out of one, in words: "the first of 12 frames"


class TranslationPipeline:
    """The way of the pictures of one folder, from their files to `settle(job, failure)`; None if all went well.

    The thread that calls `run` moves pictures from each stop to the next as soon as that has room, and does nothing
    else. They leave reading in the order of the jobs, so that the same folder makes the same batches every time.

    Two batches are given to the device at a time. A processor computes them one after the other. A GPU has two threads
    with a queue of work each, so that it copies and is told what to do next while it computes. The very first batch
    goes alone: what a network prepares on its first call is then there for both. Pictures in tiles or of several pages
    go alone always.
    """

    def __init__(
        self, translator: Translator, sizes: BatchSizes, ends: PictureIO, single: Single, listener: Listener
    ) -> None:
        self._translator, self._sizes, self._ends = translator, sizes, ends
        self._single, self._listener = single, listener
        threads = min(MOST_THREADS, max(2, _processors()))
        most = 2 * max(threads, sizes.most)
        self._reading: Backlog[Picture | TiledPicture | Failure] = Backlog(threads, most, nbytes)
        self._writing: Backlog[Failure | None] = Backlog(threads, most)
        self._buckets = Buckets(sizes)
        self._ready: deque[Batch | tuple[Job, Picture | TiledPicture]] = deque()
        self._computer = _computer(translator)
        self._computing: dict[Future[list[Picture | Failure] | None], Batch] = {}
        self._alone: dict[Future[Picture | Failure | Written], Job] = {}  # at most one
        self._depth, self._deepest = 1, 2

    def run(self, jobs: Iterable[Job]) -> None:
        """All jobs, each settled once. If it fails for another reason than a picture, what is being written is."""
        left = _RemainingItems(jobs)
        try:
            while awaited := self._move_on(left):
                wait(awaited, return_when=FIRST_COMPLETED)
                for computed in [future for future in self._computing if future.done()]:
                    self._deliver(self._computing.pop(computed), computed.result())
                for done in [future for future in self._alone if future.done()]:
                    self._finish(self._alone.pop(done), done.result())
                for job, failure in self._writing.finished():
                    self._listener.settle(job, failure)
        finally:
            self._reading.close()
            self._computer.shutdown(cancel_futures=True)
            self._writing.close(finish=True)

    def _move_on(self, left: _RemainingItems[Job]) -> list[Future]:
        """Start whatever there is room for, and say for what to wait before there can be more; nothing at the end."""
        self._read_on(left)
        if not (self._ready or self._reading.tasks):
            self._ready += self._buckets.oldest()
        while self._ready and not self._writing.full and self._has_room():
            if isinstance(first_ready := self._ready[0], tuple):
                self._ready.popleft()
                job, given = first_ready
                self._alone[self._computer.submit(self._single.translate, job, given)] = job
            else:
                batch = self._next_batch()
                pictures = [picture for _, picture in batch]
                self._computing[self._computer.submit(attempt, self._translator, pictures)] = batch
        next_read = list(self._reading.tasks)[:1] if not self._ready else []
        return [*next_read, *self._computing, *self._alone, *self._writing.tasks]

    def _read_on(self, left: _RemainingItems[Job]) -> None:
        """Have pictures read ahead, and take in what was read, until some are ready or have to be waited for."""
        while True:
            while left and not self._reading.full:
                job = left.pop()
                self._reading.add(job, self._ends.read, job, self._single.tile_for)
            while not self._ready and (first := self._reading.pop_first()):
                self._gather(*first)
            # All that were under way may have been failures
            if self._ready or self._reading.tasks or not left:
                return

    def _has_room(self) -> bool:
        """Whether the device can be given what is ready first: one batch more, or a picture that goes alone."""
        if isinstance(self._ready[0], tuple):
            return not (self._computing or self._alone)
        return len(self._computing) < self._depth and not self._alone

    def _gather(self, job: Job, read: Picture | TiledPicture | Failure) -> None:
        """Take in what was read: to be computed with others of its kind, or alone, or not at all."""
        if isinstance(read, Failure):
            self._listener.settle(job, read)
            return
        picture = read.picture if isinstance(read, TiledPicture) else read
        self._note(() if picture is None else picture.details.notes)
        if isinstance(read, TiledPicture) or read.pages:
            self._ready.append((job, read))
        else:
            self._ready += self._buckets.add(job, read)

    def _next_batch(self) -> Batch:
        """The first that is ready, or so much of it as still counts as a batch: the size may have been halved since."""
        batch = self._ready.popleft()
        assert isinstance(batch, list)
        size = self._sizes[batch[0][1].height, batch[0][1].width]
        if rest := batch[size:]:
            self._ready.appendleft(rest)
        return batch[:size]

    def _deliver(self, batch: Batch, made: list[Picture | Failure] | None) -> None:
        """Send what was computed to be written; where it did not fit in the memory, compute it in smaller batches."""
        results: list[Picture | Failure | None] = list(made or [])
        if made is None:
            wait(self._computing)  # what else is on the device has to leave first
            results = self._in_parts([picture for _, picture in batch])
            if None not in results:
                self._deepest = 1  # they fit, if alone; no second batch beside another from now on
        self._depth = self._deepest
        for (job, picture), result in zip(batch, results, strict=True):
            if result is None:
                self._ready.appendleft((job, picture))  # in tiles, then
            else:
                self._finish(job, result)

    def _in_parts(self, pictures: list[Picture]) -> list[Picture | Failure | None]:
        """The translations of pictures that did not fit together; None for one that does not fit alone."""

        def some(part: Sequence[Picture]) -> list[Picture | Failure] | None:
            return self._computer.submit(attempt, self._translator, part).result()

        return self._sizes.fit(some, pictures)

    def _finish(self, job: Job, result: Picture | Failure | Written) -> None:
        """Have a translation written, unless it is already, or say why there is none."""
        if isinstance(result, Failure):
            self._listener.settle(job, result)
        elif isinstance(result, Written):
            self._note(result.notes)
            self._listener.settle(job, None)
        else:
            self._writing.add(job, self._ends.write, job, result, weight=nbytes(result))

    def _note(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._listener.note(note)


class _RemainingItems(Generic[T]):
    """What is left of some things, of which none is asked for before it is needed."""

    def __init__(self, things: Iterable[T]) -> None:
        self._things = iter(things)
        self._next = next(self._things, None)

    def __bool__(self) -> bool:
        return self._next is not None

    def pop(self) -> T:
        """The next; there has to be one."""
        assert self._next is not None
        first, self._next = self._next, next(self._things, None)
        return first


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
