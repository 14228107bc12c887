"""Engine `ray`: distribution of a folder's pictures over a Ray cluster by Ray Data.

The driver packs jobs into tasks, Ray Data hands them to a pool of workers that hold the model, and the driver records
the results. Files are written where they are computed. Tasks of a machine that died are retried elsewhere; since files
are written atomically and do not depend on who writes them, repeating one does no harm.

A task is a pickled list of jobs, and so is its result: file names need not be valid text, as table columns must be, and
packed together they take a tenth of the space.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import re
import socket
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from cyclegan.errors import CycleganError, UsageError, first_line
from cyclegan.translation.jobs import Failure, Job, OnResult
from cyclegan.translation.ray.session import Session, WorkerSlots, session
from cyclegan.translation.runners import EngineOptions, TranslationSettings, translate_jobs
from cyclegan.translation.translator import Translator

TASKS, RESULTS = "jobs", "settled"  # the one column of task and result tables
TOGETHER = {False: 32, True: 256}  # maximal jobs per task, without and with a GPU
TASKS_EACH = 4  # minimal tasks per worker, so that the last ones do not wait long for each other
ATTEMPTS = 3  # at a task, before its pictures are tried one by one, and then at each picture
FAREWELL = 10.0  # seconds to wait for running tasks when a job ends early
PATIENCE = 60.0  # seconds without a result after which the tasks of a cluster that lost machines are resubmitted


@dataclass
class TaskResult:
    """Results of one task."""

    settled: list[tuple[int, Failure | None]] = field(default_factory=list)  # by job number
    notes: Counter[str] = field(default_factory=Counter)
    trouble: tuple[type[Exception], str] | None = None  # an error that is not due to one picture, to be raised


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
    settings = replace(settings, model=os.path.abspath(settings.model))
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
    numbered = ([(number, remaining.jobs[number]) for number in part] for part in parts)
    packed = (zlib.compress(pickle.dumps(part), 1) for part in numbered)
    return [pyarrow.table({TASKS: pyarrow.array([task], pyarrow.binary())}) for task in packed]


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
        fn_constructor_args=(settings, counter, ATTEMPTS, slots.threads, metadata.version("cyclegan")),
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
                if time.monotonic() <= latest + PATIENCE or len(cluster.nodes()) >= machines:
                    continue
                if cluster.own:
                    raise _SmallerCluster from None
                raise CycleganError(
                    "--engine ray: machines of the cluster are gone and the others send no results; run the same "
                    "command again, it resumes where it stopped"
                ) from None
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


class Worker:
    """Actor that loads the model once and is called with one task at a time.

    `counter` counts the attempts at each task. A picture that crashes the process that decodes it would crash one
    after the other, since Ray retries such a task endlessly: after `attempts` it is returned undone.
    """

    def __init__(self, settings: TranslationSettings, counter: Any, attempts: int, threads: int, made_by: str) -> None:
        self._settings, self._counter, self._attempts = settings, counter, attempts
        self._threads, self._made_by = threads, made_by
        self._translator: Translator | None = None

    def __call__(self, table: Any) -> Any:
        """Process an Arrow table of one task into a table of one result."""
        import pyarrow

        tasks = table.column(TASKS).to_pylist()
        results = [pickle.dumps(self._process(pickle.loads(zlib.decompress(task)))) for task in tasks]
        return pyarrow.table({RESULTS: pyarrow.array(results, pyarrow.binary())})

    def _process(self, numbered: list[tuple[int, Job]]) -> TaskResult:
        import ray

        result = TaskResult()
        if ray.get(self._counter.begin.remote(numbered[0][0])) > self._attempts:
            return result
        number_of = {id(job): number for number, job in numbered}

        def add(job: Job, failure: Failure | None) -> None:
            result.settled.append((number_of[id(job)], failure))

        # Errors are returned as text to the sender: raised here, Ray would retry the task or show its own message
        try:
            self._translator = self._translator or self._load()
            options = EngineOptions(self._translator, note=lambda text: result.notes.update([text]))
            translate_jobs(self._settings, [job for _, job in numbered], add, options)
        except CycleganError as error:
            kind = UsageError if isinstance(error, UsageError) else CycleganError
            result.trouble = kind, f"{error} (on {socket.gethostname()})"
        except Exception:
            result.trouble = RuntimeError, f"on {socket.gethostname()}:\n{traceback.format_exc()}"
        return result

    def _load(self) -> Translator:
        import torch

        from cyclegan.system.devices import is_exact, prepare

        if (version := metadata.version("cyclegan")) != self._made_by:
            raise UsageError(
                f"--engine ray: a node has cyclegan {version} and this machine {self._made_by}; install the same"
            )
        torch.set_num_threads(self._threads)
        translator = self._settings.translator()
        prepare(translator.device, exact=is_exact(self._settings.precision))
        return translator


class AttemptCounter:
    """Counter of the attempts at each task; it runs on the driver's node, so that it outlives workers."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        """Count one more attempt at `task` and return their number."""
        self._begun[task] += 1
        return self._begun[task]
