"""Picklable settings of a translation, and the engine that runs jobs on this machine.

An engine calls `on_result` once for each of the jobs it gets, in the thread of its caller. It neither decides what is
left to do nor keeps a record: `translate_folder`, which has the table of engines, does both.

This one is a pipeline: read, batch by kind, compute, write. Reading and writing have threads of their own, so that
neither queues behind the other (Pillow releases the GIL while it decodes and encodes, torch while it computes). Memory
use is bounded, whatever the folder holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

import torch

from cyclegan.errors import UsageError
from cyclegan.images import Picture, parse_range
from cyclegan.networks import GeneratorLike
from cyclegan.system.devices import processors
from cyclegan.translation.batching import BYTES, Batcher, BatchSizes, ItemBatch
from cyclegan.translation.jobs import Failure, Job, OnResult, PictureIO, TiledPicture
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.tiling.single import Single, Written, attempt, nbytes
from cyclegan.translation.translator import Translator
from cyclegan.translation.value_scale import ValueScale

Item = tuple[Job, Picture | TiledPicture]
R = TypeVar("R")

MOST_THREADS = 16  # for reading and for writing each; a GPU's batch needs no more, and each holds a picture


@dataclass(frozen=True)
class TranslationSettings:
    """All inputs of `translate_jobs` but the jobs; picklable, with paths valid on every machine."""

    io: PictureIO  # reading and writing
    model: str | None = None  # file or run directory; None: the translator exists only in this process
    direction: str | None = None  # None: the model's only one, or its first
    device: str = "auto"
    precision: str = "auto"
    range: str | None = None  # see `parse_range`; None: that of the model
    batch_size: int | None = None  # None: automatic
    tile: int | Literal["auto"] | None = "auto"  # None: no tiles
    overlap: int | None = None  # of tiles, in pixels; None: automatic
    max_memory: int | None = None  # bytes that an untiled picture may take; None: measured

    def translator(self) -> Translator:
        """Load the model; `UsageError` and `CycleganError` as `Translator.load` raises.

        The owner of the process also calls `cyclegan.system.devices.prepare` for its device.
        """
        assert self.model is not None, "these settings name no model to load"
        rule = None if self.range is None else parse_range(self.range, "--range")  # checked before anything is read
        translator = Translator.load(self.model, self.direction, self.device, self.precision)
        if rule is not None:
            translator.scales = ValueScale(rule)
        return translator

    def tiling(self, generator: GeneratorLike) -> Tiling:
        """Build the tiling policy for `generator`.

        Raises `UsageError` for invalid tile settings, or if the network takes whole pictures only.
        """
        tiling = Tiling(None) if self.tile is None else Tiling(self.tile, self.overlap, self.max_memory)
        if not generator.tileable and tiling not in (Tiling(None), Tiling()):
            raise UsageError("--tile, --overlap, --max-memory: this network takes whole pictures only; leave them out")
        return tiling if generator.tileable else Tiling(None)


@dataclass(frozen=True)
class EngineOptions:
    """Engine-specific inputs; each engine uses those it knows."""

    translator: Translator | None = None  # already loaded, for an engine that computes in this process
    address: str | None = None  # of a Ray cluster
    note: Callable[[str], None] = lambda text: None  # see `TranslationPipeline`; optional for an engine


Engine = Callable[[TranslationSettings, Sequence[Job], OnResult, EngineOptions], None]


def translate_jobs(
    settings: TranslationSettings, jobs: Sequence[Job], on_result: OnResult, options: EngineOptions
) -> None:
    """Translate `jobs` on one device of this machine, the engine `local`.

    `on_result(job, failure)` is called once for each job; failure is None if its file was written. An exception raised
    in it ends the work, after files that are being written are finished.
    """
    translator = options.translator or settings.translator()
    if settings.io.temporary is not None:
        os.makedirs(settings.io.temporary, exist_ok=True)
    sizes = BatchSizes(translator, settings.batch_size, len(jobs))
    single = Single(translator, settings.io, settings.tiling(translator.generator))
    TranslationPipeline(single, sizes, on_result, options.note).run(jobs)


class Backlog(Generic[R]):
    """Bounded queue of tasks that run in `threads` threads, oldest first.

    It is `full` at `most` tasks, or when their pictures hold `BYTES`; but never with fewer than two tasks, so that a
    picture larger than the bound is still processed. A task counts with the bytes it was added with until it is done,
    then with those of its result, by `size_of`.
    """

    def __init__(self, threads: int, most: int, size_of: Callable[[R], int] = lambda result: 0) -> None:
        self.tasks: dict[Future[R], Job] = {}  # in insertion order
        self._pool = ThreadPoolExecutor(threads)
        self._weights: dict[Future[R], int] = {}
        self._most = most
        self._size_of = size_of
        # Bytes of the last result, the estimate for the next ones. Before there is one, each thread gets a task.
        self._latest = -(-BYTES // threads)

    @property
    def full(self) -> bool:
        count = len(self.tasks)
        return count >= self._most or (count >= 2 and sum(map(self._weight, self.tasks)) >= BYTES)

    def add(self, job: Job, task: Callable[..., R], *arguments: object, weight: int = 0) -> None:
        """Submit `task(*arguments)`, which holds `weight` bytes until it is done."""
        future = self._pool.submit(task, *arguments)
        self.tasks[future] = job
        self._weights[future] = weight

    def pop_first(self) -> tuple[Job, R] | None:
        """Pop the oldest job and its result; None while it is not done. Reraises the task's exception."""
        first = next(iter(self.tasks), None)
        return None if first is None or not first.done() else self._pop(first)

    def finished(self) -> list[tuple[Job, R]]:
        """Pop all finished jobs and their results. Reraises a task's exception."""
        return [self._pop(future) for future in list(self.tasks) if future.done()]

    def close(self, *, finish: bool = False) -> None:
        """Stop the threads after their current tasks, or with `finish` after all tasks."""
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


class TranslationPipeline:
    """Pipeline of one folder, from files to results.

    `on_result(job, failure)` is called once for each picture, None: written, and `note(text)` for what was dropped from
    one, e.g. "the first of 12 frames", both in the thread that calls `run`.

    The thread that calls `run` only moves pictures from each stage to the next as soon as that has room. Pictures
    leave reading in the order of the jobs, so that the same folder always makes the same batches.

    Two batches are given to the device at a time. A CPU computes them one after the other. A GPU has two threads with
    a CUDA stream each, so that it copies and receives further work while it computes. The very first batch runs alone:
    what a network prepares on its first call is then ready for both. Pictures in tiles or with several pages always
    run alone.
    """

    def __init__(self, single: Single, sizes: BatchSizes, on_result: OnResult, note: Callable[[str], None]) -> None:
        self._single, self._sizes, self._on_result, self._note = single, sizes, on_result, note
        threads = min(MOST_THREADS, max(2, processors()))
        most = 2 * max(threads, sizes.most)
        self._reading: Backlog[Picture | TiledPicture | Failure] = Backlog(threads, most, nbytes)
        self._writing: Backlog[Failure | None] = Backlog(threads, most)
        self._batcher: Batcher[Item] = Batcher(sizes)
        self._computer = _computer(single.translator)
        self._computing: dict[Future[Sequence[Picture | Failure] | None], list[tuple[Job, Picture]]] = {}
        self._alone: dict[Future[Picture | Failure | Written], Job] = {}  # at most one
        self._depth, self._deepest = 1, 2

    def run(self, jobs: Iterable[Job]) -> None:
        """Process all jobs, with one result each. After any other error, files being written are finished."""
        left = iter(jobs)
        try:
            while awaited := self._move_on(left):
                wait(awaited, return_when=FIRST_COMPLETED)
                for computed in [future for future in self._computing if future.done()]:
                    self._deliver(self._computing.pop(computed), computed.result())
                for done in [future for future in self._alone if future.done()]:
                    self._finish(self._alone.pop(done), done.result())
                for job, failure in self._writing.finished():
                    self._on_result(job, failure)
        finally:
            self._reading.close()
            self._computer.shutdown(cancel_futures=True)
            self._writing.close(finish=True)

    def _move_on(self, left: Iterator[Job]) -> list[Future]:
        """Start what there is room for; return the futures to wait for next, none at the end."""
        self._read_on(left)
        partial = not (self._batcher.ready or self._reading.tasks)
        while not self._writing.full and len(self._computing) < self._depth and not self._alone:
            batch = self._batcher.take(idle=not self._computing, partial=partial)
            if batch is None:
                break
            self._compute(batch)
            partial = False
        next_read = list(self._reading.tasks)[:1] if not self._batcher.ready else []
        return [*next_read, *self._computing, *self._alone, *self._writing.tasks]

    def _read_on(self, left: Iterator[Job]) -> None:
        """Read ahead and collect pictures until a batch is ready or reads are pending."""
        while True:
            while not self._reading.full and (job := next(left, None)) is not None:
                self._reading.add(job, self._single.io.read, job, self._single.tile_for)
            if not self._reading.tasks:
                return  # nothing is left
            while not self._batcher.ready and (first := self._reading.pop_first()):
                self._gather(*first)
            # All reads may have failed
            if self._batcher.ready or self._reading.tasks:
                return

    def _gather(self, job: Job, read: Picture | TiledPicture | Failure) -> None:
        """Sort what was read: into a batch of its kind, to run alone, or as a failure."""
        if isinstance(read, Failure):
            self._on_result(job, read)
            return
        picture = read.picture if isinstance(read, TiledPicture) else read
        for note in () if picture is None else picture.details.notes:
            self._note(note)
        if isinstance(read, TiledPicture) or read.pages:
            self._batcher.add_alone((job, read))
        else:
            self._batcher.add((job, read), read.kind, nbytes(read))

    def _compute(self, batch: ItemBatch[Item]) -> None:
        """Submit a batch to the device."""
        if batch.size is None:
            ((job, given),) = batch.items
            self._alone[self._computer.submit(self._single.translate, job, given)] = job
        else:
            items = cast(list[tuple[Job, Picture]], batch.items)  # a `TiledPicture` has no kind
            pictures = [picture for _, picture in items]
            self._computing[self._computer.submit(attempt, self._single.translator, pictures)] = items

    def _deliver(self, batch: list[tuple[Job, Picture]], made: Sequence[Picture | Failure] | None) -> None:
        """Pass results on to writing; retry in smaller batches if memory ran out."""

        def retry(part: Sequence[Picture]) -> Sequence[Picture | Failure] | None:
            return self._computer.submit(attempt, self._single.translator, part).result()

        results: list[Picture | Failure | None] = list(made or [])
        if made is None:
            wait(self._computing)  # other work on the device has to finish first
            results = self._sizes.fit(retry, [picture for _, picture in batch])
            if None not in results:
                self._deepest = 1  # they fit alone: from now on only one batch at a time
        self._depth = self._deepest
        for (job, picture), result in zip(batch, results, strict=True):
            if result is None:
                self._batcher.add_alone((job, picture), first=True)  # retried in tiles
            else:
                self._finish(job, result)

    def _finish(self, job: Job, result: Picture | Failure | Written) -> None:
        """Submit a translation for writing unless already written, or report its failure."""
        if isinstance(result, Failure):
            self._on_result(job, result)
        elif isinstance(result, Written):
            for note in result.notes:
                self._note(note)
            self._on_result(job, None)
        else:
            self._writing.add(job, self._single.io.write, job, result, weight=nbytes(result))


def _computer(translator: Translator) -> ThreadPoolExecutor:
    """Compute thread; on a GPU two, each with its own stream.

    Streams do not wait for each other, hence each first waits for work begun elsewhere: copying the weights. A network
    in training mode is switched to evaluation mode for each batch and back, which only one thread may do.
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
