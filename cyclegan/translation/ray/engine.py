"""Engine `ray`: distribution of a folder's pictures over a Ray cluster by Ray Data.

The driver packs jobs into tasks, Ray Data hands them to a pool of workers that hold the model, and the driver records
the results. Files are written where they are computed. Tasks of a machine that died are retried elsewhere; since files
are written atomically and do not depend on who writes them, repeating one does no harm.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import re
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from cyclegan.errors import CycleganError, UsageError, first_line
from cyclegan.translation.jobs import Failure, Job
from cyclegan.translation.ray.session import Session, WorkerSlots, session
from cyclegan.translation.ray.worker import RESULTS, TASKS, AttemptCounter, TaskResult, Worker, pack, version
from cyclegan.translation.runners import EngineOptions, OnResult, TranslationSettings

TOGETHER = {False: 32, True: 256}  # maximal jobs per task, without and with a GPU
TASKS_EACH = 4  # minimal tasks per worker, so that the last ones do not wait long for each other
ATTEMPTS = 3  # at a task, before its pictures are tried one by one, and then at each picture
FAREWELL = 10.0  # seconds to wait for running tasks when a job ends early
PATIENCE = 60.0  # seconds without a result after which the tasks of a cluster that lost machines are resubmitted


class _RemainingTasks:
    """Jobs without a result yet, by number."""

    def __init__(self, jobs: Sequence[Job], on_result: OnResult) -> None:
        self.jobs = jobs
        self._on_result = on_result
        self._done = bytearray(len(jobs))

    def __iter__(self) -> Iterator[int]:
        return (number for number, done in enumerate(self._done) if not done)

    def settle(self, number: int, failure: Failure | None) -> None:
        """Report the first result of a job: a task that was retried may return twice."""
        if not self._done[number]:
            self._done[number] = True
            self._on_result(self.jobs[number], failure)


class _SmallerCluster(Exception):
    """The cluster lost machines, and results stopped coming."""


def run(settings: TranslationSettings, jobs: Sequence[Job], on_result: OnResult, options: EngineOptions) -> None:
    """Translate `jobs` on the cluster at `options.address`; None starts a temporary Ray on this machine.

    Every machine must have this package in the same version, and the same files at the same paths: the model, the
    pictures and the output folder. A picture on which workers died repeatedly is a failure. Raises `UsageError` if
    there is no cluster or no model file, and whatever loading an unusable model raises.
    """
    if settings.model is None:
        raise UsageError("--engine ray: only a model in a file can be sent to other machines; save it, and name it")
    if not jobs:
        return
    here = os.path.abspath
    temporary = None if settings.io.temporary is None else here(settings.io.temporary)
    io = replace(settings.io, root=here(settings.io.root), temporary=temporary)
    settings = replace(settings, model=here(settings.model), io=io)
    remaining = _RemainingTasks(jobs, on_result)
    with session(options.address) as cluster:
        for alone in (False, True):
            while next(iter(remaining), None) is not None:
                try:
                    _run_pass(cluster, settings, remaining, options, alone)
                    break
                except _SmallerCluster:
                    cluster.connect()
    for number in remaining:
        remaining.settle(number, Failure("WorkerDied", f"each of the {ATTEMPTS} workers that processed it died"))


def _run_pass(
    cluster: Session, settings: TranslationSettings, remaining: _RemainingTasks, options: EngineOptions, alone: bool
) -> None:
    """Run all remaining jobs once; those remaining afterwards crashed every worker of their task."""
    slots = cluster.slots(settings.device)
    tasks = _tasks(remaining, 1 if alone else TOGETHER[slots.gpus > 0], slots)
    if len(tasks) < slots.count:
        slots = replace(slots, count=len(tasks))
    # Closed before the connection is, also after an error in a result or callback: an exception keeps a generator open
    with contextlib.closing(_results(cluster, _dataset(cluster, settings, tasks, slots))) as results:
        for result in results:
            for number, failure in result.settled:
                remaining.settle(number, failure)
            for text in result.notes.elements():
                options.note(text)
            if result.trouble is not None:
                kind, text = result.trouble
                raise kind(text)


def _tasks(remaining: _RemainingTasks, most: int, slots: WorkerSlots) -> list[Any]:
    """Build one Arrow table per task: Ray Data schedules each table by itself."""
    import pyarrow

    numbers = list(remaining)
    size = max(1, min(most, len(numbers) // (TASKS_EACH * slots.count)))
    parts = (numbers[first : first + size] for first in range(0, len(numbers), size))
    packed = (pack([(number, _absolute(remaining.jobs[number])) for number in part]) for part in parts)
    return [pyarrow.table({TASKS: pyarrow.array([task], pyarrow.binary())}) for task in packed]


def _absolute(job: Job) -> Job:
    return job if os.path.isabs(job.source) else replace(job, source=os.path.abspath(job.source))


def _dataset(cluster: Session, settings: TranslationSettings, tasks: list[Any], slots: WorkerSlots) -> Any:
    """Build the lazy dataset of the results of `tasks`."""
    ray = cluster.ray
    ray.data.DataContext.get_current().enable_progress_bars = False
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    immortal = {"max_restarts": -1, "max_task_retries": -1}
    counter = ray.remote(AttemptCounter).options(num_cpus=0, scheduling_strategy=here, **immortal).remote()
    return ray.data.from_arrow(tasks).map_batches(
        Worker,
        fn_constructor_args=(settings, counter, ATTEMPTS, slots.threads, version()),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=slots.count),
        num_cpus=slots.cpus,
        num_gpus=slots.gpus,
    )


def _results(cluster: Session, dataset: Any) -> Generator[TaskResult, None, None]:
    """Yield results as they arrive, from a thread that waits for them.

    Raises `_SmallerCluster` if machines are gone and no result came for a while: Ray waits for room for the lost
    workers, perhaps forever.
    """
    arrived: queue.SimpleQueue[TaskResult | Exception | None] = queue.SimpleQueue()
    over = threading.Event()

    def wait() -> None:
        try:
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for packed in table.column(RESULTS).to_pylist():
                    arrived.put(pickle.loads(packed))
                if over.is_set():
                    return
            arrived.put(None)
        except Exception as error:
            arrived.put(error)

    machines = len(cluster.nodes())
    waiting = threading.Thread(target=wait, name="cluster results", daemon=True)
    waiting.start()
    latest = time.monotonic()
    try:
        while True:
            try:
                result = arrived.get(timeout=1)
            except queue.Empty:
                if time.monotonic() > latest + PATIENCE and len(cluster.nodes()) < machines:
                    _give_up(cluster)
                continue
            latest = time.monotonic()
            if result is None:
                return
            if isinstance(result, Exception):
                raise CycleganError(f"--engine ray: the cluster failed ({_message_of(result)})") from result
            yield result
    finally:
        over.set()
        waiting.join(FAREWELL)  # until the next result; Ray must not be left while it is at work


def _message_of(error: Exception) -> str:
    """Extract the message from an exception of Ray, which has coloured traces of several processes."""
    messages = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception): ", line)]
    return messages[0] if messages else first_line(error)


def _give_up(cluster: Session) -> None:
    if cluster.own:
        raise _SmallerCluster
    raise CycleganError(
        "--engine ray: machines of the cluster are gone and the others send no results; run the same command again, "
        "it resumes where it stopped"
    )
