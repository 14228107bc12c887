"""Ray worker processes, which receive their tasks from `cyclegan.translation.ray.engine`.

A task is a pickled list of jobs, and so is its result: file names need not be valid text, as table columns must be, and
packed together they take a tenth of the space.
"""

from __future__ import annotations

import pickle
import socket
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from cyclegan.errors import CycleganError, UsageError
from cyclegan.translation.jobs import Failure, Job
from cyclegan.translation.runners import EngineOptions, TranslationSettings, translate_jobs
from cyclegan.translation.translator import Translator

TASKS, RESULTS = "jobs", "settled"  # the one column of task and result tables


@dataclass
class TaskResult:
    """Results of one task."""

    settled: list[tuple[int, Failure | None]] = field(default_factory=list)  # by job number
    notes: Counter[str] = field(default_factory=Counter)
    trouble: tuple[type[Exception], str] | None = None  # an error that is not due to one picture, to be raised


def version() -> str:
    """Version of this package on this machine."""
    return metadata.version("cyclegan")


def pack(numbered: list[tuple[int, Job]]) -> bytes:
    """Pack numbered jobs into a task."""
    return zlib.compress(pickle.dumps(numbered), 1)


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
        # Errors are returned as text to the sender: raised here, Ray would retry the task or show its own message
        try:
            self._translate(numbered, result)
        except CycleganError as error:
            kind = UsageError if isinstance(error, UsageError) else CycleganError
            result.trouble = kind, f"{error} (on {socket.gethostname()})"
        except Exception:
            result.trouble = RuntimeError, f"on {socket.gethostname()}:\n{traceback.format_exc()}"
        return result

    def _translate(self, numbered: list[tuple[int, Job]], result: TaskResult) -> None:
        number_of = {id(job): number for number, job in numbered}

        def add(job: Job, failure: Failure | None) -> None:
            result.settled.append((number_of[id(job)], failure))

        def note(text: str) -> None:
            result.notes[text] += 1

        if self._translator is None:
            self._translator = self._load()
        translate_jobs(self._settings, [job for _, job in numbered], add, EngineOptions(self._translator, note=note))

    def _load(self) -> Translator:
        import torch

        from cyclegan.system.devices import is_exact, prepare

        if version() != self._made_by:
            raise UsageError(
                f"--engine ray: a node has cyclegan {version()} and this machine {self._made_by}; install the same"
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
