"""Pictures on their way through a translator: read, gathered by kind, computed, written, all at the same time.

Reading and writing have threads of their own, so that neither queues behind the other (Pillow leaves Python's lock
while it decodes and encodes, torch while it computes). What is held in memory is bounded, whatever the folder holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch

from cyclegan.images import Picture
from cyclegan.system.devices import processors
from cyclegan.translation.batching import BYTES, Batcher, BatchSizes, ItemBatch
from cyclegan.translation.jobs import Failure, Job, PictureIO, TiledPicture
from cyclegan.translation.tiling.single import Single, Written, attempt, nbytes
from cyclegan.translation.translator import Translator

Item = tuple[Job, Picture | TiledPicture]
R = TypeVar("R")

MOST_THREADS = 16  # at either end; a GPU's batch keeps no more busy, and each holds a picture


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
        threads = min(MOST_THREADS, max(2, processors()))
        most = 2 * max(threads, sizes.most)
        self._reading: Backlog[Picture | TiledPicture | Failure] = Backlog(threads, most, nbytes)
        self._writing: Backlog[Failure | None] = Backlog(threads, most)
        self._batcher: Batcher[Item] = Batcher(sizes)
        self._computer = _computer(translator)
        self._computing: dict[Future[list[Picture | Failure] | None], list[tuple[Job, Picture]]] = {}
        self._alone: dict[Future[Picture | Failure | Written], Job] = {}  # at most one
        self._depth, self._deepest = 1, 2

    def run(self, jobs: Iterable[Job]) -> None:
        """All jobs, each settled once. If it fails for another reason than a picture, what is being written is."""
        left = iter(jobs)
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

    def _move_on(self, left: Iterator[Job]) -> list[Future]:
        """Start whatever there is room for, and say for what to wait before there can be more; nothing at the end."""
        self._read_on(left)
        partial = not (self._batcher.ready or self._reading.tasks)
        while not self._writing.full and self._has_room():
            batch = self._batcher.take(idle=not self._computing, partial=partial)
            if batch is None:
                break
            self._compute(batch)
            partial = False
        next_read = list(self._reading.tasks)[:1] if not self._batcher.ready else []
        return [*next_read, *self._computing, *self._alone, *self._writing.tasks]

    def _read_on(self, left: Iterator[Job]) -> None:
        """Have pictures read ahead, and take in what was read, until some are ready or have to be waited for."""
        while True:
            while not self._reading.full and (job := next(left, None)) is not None:
                self._reading.add(job, self._ends.read, job, self._single.tile_for)
            if not self._reading.tasks:
                return  # nothing is left
            while not self._batcher.ready and (first := self._reading.pop_first()):
                self._gather(*first)
            # All that were under way may have been failures
            if self._batcher.ready or self._reading.tasks:
                return

    def _has_room(self) -> bool:
        """Whether the device can be given one batch more."""
        return len(self._computing) < self._depth and not self._alone

    def _gather(self, job: Job, read: Picture | TiledPicture | Failure) -> None:
        """Take in what was read: to be computed with others of its kind, or alone, or not at all."""
        if isinstance(read, Failure):
            self._listener.settle(job, read)
            return
        picture = read.picture if isinstance(read, TiledPicture) else read
        self._note(() if picture is None else picture.details.notes)
        if isinstance(read, TiledPicture) or read.pages:
            self._batcher.add_alone((job, read))
        else:
            self._batcher.add((job, read), read.kind, nbytes(read))

    def _compute(self, batch: ItemBatch[Item]) -> None:
        """Give a batch to the device."""
        if batch.size is None:
            ((job, given),) = batch.items
            self._alone[self._computer.submit(self._single.translate, job, given)] = job
        else:
            items = cast(list[tuple[Job, Picture]], batch.items)  # an `TiledPicture` has no kind
            pictures = [picture for _, picture in items]
            self._computing[self._computer.submit(attempt, self._translator, pictures)] = items

    def _deliver(self, batch: list[tuple[Job, Picture]], made: list[Picture | Failure] | None) -> None:
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
                self._batcher.add_alone((job, picture), first=True)  # in tiles, then
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

    return ThreadPoolExecutor(1 if translator.is_lent else 2, initializer=own_stream)
