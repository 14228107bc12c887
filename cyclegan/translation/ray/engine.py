"""The engine `ray`: the pictures of a folder over all processes of a Ray cluster, by Ray Data.

The driver packs jobs into tasks, Ray Data hands them to a pool of processes that hold the model, and the driver
settles what comes back. Files are written where they are computed. What a machine that died had in hand is begun again
elsewhere; since a file appears whole and is the same whoever makes it, one that was made before does no harm.
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

from cyclegan.errors import CycleganError, UsageError
from cyclegan.translation.jobs import Failure, Job
from cyclegan.translation.ray.session import Session, WorkerSlots, session
from cyclegan.translation.ray.worker import ANSWERS, TASKS, AttemptCounter, TaskResult, Worker, pack, version
from cyclegan.translation.runners import EngineOptions, OnResult, TranslationSettings

TOGETHER = {False: 32, True: 256}  # jobs of a task, at most, without and with a GPU
TASKS_EACH = 4  # for every process, at least, so that the last ones do not wait long for each other
ATTEMPTS = 3  # of a task, before its pictures are tried one by one, and then of each picture
FAREWELL = 10.0  # seconds to wait for what is under way when a job ends before its time
PATIENCE = 60.0  # seconds without an answer after which a cluster that has become smaller is asked anew


class _RemainingTasks:
    """The jobs that are not settled yet, by number."""

    def __init__(self, jobs: Sequence[Job], settle: OnResult) -> None:
        self.jobs = jobs
        self._settle = settle
        self._done = bytearray(len(jobs))

    def __iter__(self) -> Iterator[int]:
        return (number for number, done in enumerate(self._done) if not done)

    def settle(self, number: int, failure: Failure | None) -> None:
        """What became of a job, the first time it is said: a task that was begun twice may answer twice."""
        if not self._done[number]:
            self._done[number] = True
            self._settle(self.jobs[number], failure)


class _SmallerCluster(Exception):
    """Machines are gone, and nothing comes back any more."""


def run(work: TranslationSettings, jobs: Sequence[Job], settle: OnResult, options: EngineOptions) -> None:
    """Translate `jobs` on the cluster at `options.address`; None starts Ray on this machine alone, for as long.

    Every machine must have this package, in the same version, and the same files at the same paths: the model, the
    pictures, and the folder of the translations. A picture at which a process died each of several times is a failure.
    Raises `UsageError` where there is no cluster, or no file with the model, and whatever a model that cannot be used
    raises.
    """
    if work.model is None:
        raise UsageError("--engine ray: only a model in a file can be sent to other machines; save it, and name it")
    if not jobs:
        return
    here = os.path.abspath
    temporary = None if work.ends.temporary is None else here(work.ends.temporary)
    ends = replace(work.ends, root=here(work.ends.root), temporary=temporary)
    work = replace(work, model=here(work.model), ends=ends)
    left = _RemainingTasks(jobs, settle)
    with session(options.address) as cluster:
        for alone in (False, True):
            while next(iter(left), None) is not None:
                try:
                    _run_pass(cluster, work, left, options, alone)
                    break
                except _SmallerCluster:
                    cluster.connect()
    for number in left:
        left.settle(number, Failure("WorkerDied", f"each of the {ATTEMPTS} processes that worked on it died"))


def _run_pass(
    cluster: Session, work: TranslationSettings, left: _RemainingTasks, options: EngineOptions, alone: bool
) -> None:
    """All that is left, once; what is left then brought down every process that worked on it or on its company."""
    seats = cluster.seats(work.device)
    tasks = _tasks(left, 1 if alone else TOGETHER[seats.gpus > 0], seats)
    if len(tasks) < seats.count:
        seats = replace(seats, count=len(tasks))
    # Closed before the connection is, also when `settle` or an answer ends it: an exception keeps a generator open
    with contextlib.closing(_answers(cluster, _dataset(cluster, work, tasks, seats))) as answers:
        for answer in answers:
            for number, failure in answer.settled:
                left.settle(number, failure)
            for text in answer.notes.elements():
                options.note(text)
            if answer.trouble is not None:
                kind, text = answer.trouble
                raise kind(text)


def _tasks(left: _RemainingTasks, most: int, seats: WorkerSlots) -> list[Any]:
    """One Arrow table for each task: Ray Data begins each table by itself."""
    import pyarrow

    numbers = list(left)
    size = max(1, min(most, len(numbers) // (TASKS_EACH * seats.count)))
    parts = (numbers[first : first + size] for first in range(0, len(numbers), size))
    packed = (pack([(number, _absolute(left.jobs[number])) for number in part]) for part in parts)
    return [pyarrow.table({TASKS: pyarrow.array([task], pyarrow.binary())}) for task in packed]


def _absolute(job: Job) -> Job:
    return job if os.path.isabs(job.source) else replace(job, source=os.path.abspath(job.source))


def _dataset(cluster: Session, work: TranslationSettings, tasks: list[Any], seats: WorkerSlots) -> Any:
    """The answers to `tasks`, of which none is asked for yet."""
    ray = cluster.ray
    ray.data.DataContext.get_current().enable_progress_bars = False
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    immortal = {"max_restarts": -1, "max_task_retries": -1}
    ledger = ray.remote(AttemptCounter).options(num_cpus=0, scheduling_strategy=here, **immortal).remote()
    return ray.data.from_arrow(tasks).map_batches(
        Worker,
        fn_constructor_args=(work, ledger, ATTEMPTS, seats.threads, version()),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=seats.count),
        num_cpus=seats.cpus,
        num_gpus=seats.gpus,
    )


def _answers(cluster: Session, dataset: Any) -> Generator[TaskResult, None, None]:
    """Answers as they come, from a thread that waits for them.

    Raises `_SmallerCluster` if machines are gone and there was no answer for a while: Ray waits for room for the
    processes that were there, and it need never come.
    """
    arrived: queue.SimpleQueue[TaskResult | Exception | None] = queue.SimpleQueue()
    over = threading.Event()

    def wait() -> None:
        try:
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for packed in table.column(ANSWERS).to_pylist():
                    arrived.put(pickle.loads(packed))
                if over.is_set():
                    return
            arrived.put(None)
        except Exception as error:
            arrived.put(error)

    machines = len(cluster.nodes())
    waiting = threading.Thread(target=wait, name="answers of the cluster", daemon=True)
    waiting.start()
    latest = time.monotonic()
    try:
        while True:
            try:
                answer = arrived.get(timeout=1)
            except queue.Empty:
                if time.monotonic() > latest + PATIENCE and len(cluster.nodes()) < machines:
                    _give_up(cluster)
                continue
            latest = time.monotonic()
            if answer is None:
                return
            if isinstance(answer, Exception):
                raise CycleganError(f"--engine ray: the cluster failed ({_said_by(answer)})") from answer
            yield answer
    finally:
        over.set()
        waiting.join(FAREWELL)  # with the next answer; Ray does not like to be left while it is at work


def _said_by(error: Exception) -> str:
    """The sentence in what Ray raises, which is many lines: traces of several processes with their colours."""
    said = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception): ", line)]
    return said[0] if said else next(iter(str(error).splitlines()), type(error).__name__)


def _give_up(cluster: Session) -> None:
    if cluster.own:
        raise _SmallerCluster
    raise CycleganError(
        "--engine ray: machines of the cluster are gone, and nothing comes back from the others; run the same again, "
        "it goes on where it stopped"
    )
