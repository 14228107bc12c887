"""What the processes of a cluster do: the other end of `cyclegan.translation.ray.engine`, which sends them their tasks.

A task is some jobs packed into bytes, and so is the answer to it: names of files need not be text, which columns of
tables have to be, and packed together they take a tenth of the room.
"""

from __future__ import annotations

import pickle
import socket
import traceback
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from cyclegan.errors import CycleganError, UsageError
from cyclegan.translation.jobs import Failure, Job
from cyclegan.translation.runners import EngineOptions, TranslationSettings, translate_jobs
from cyclegan.translation.translator import Translator

TASKS, ANSWERS = "jobs", "settled"  # the one column of the tables that go there and come back


@dataclass
class TaskResult:
    """What became of one task."""

    settled: list[tuple[int, Failure | None]] = field(default_factory=list)  # by the numbers of the jobs
    notes: Counter[str] = field(default_factory=Counter)
    trouble: tuple[type[Exception], str] | None = None  # what is wrong with more than one picture, to be raised


def version() -> str:
    """The version of this package that is installed where this is called."""
    return metadata.version("cyclegan")


def pack(numbered: Sequence[tuple[int, Job]]) -> bytes:
    """A task of some jobs with their numbers."""
    return zlib.compress(pickle.dumps([(number, job) for number, job in numbered]), 1)


class Worker:
    """One process of a cluster, with the model loaded once; called with a task at a time.

    `ledger` counts how often each task was begun. A picture that brings down the process that decodes it would bring
    down one after the other, since Ray begins such a task again and again: after `attempts` it is given back undone.
    """

    def __init__(self, work: TranslationSettings, ledger: Any, attempts: int, threads: int, made_by: str) -> None:
        self._work, self._ledger, self._attempts = work, ledger, attempts
        self._threads, self._made_by = threads, made_by
        self._translator: Translator | None = None

    def __call__(self, table: Any) -> Any:
        """An Arrow table of one answer for a table of one task."""
        import pyarrow

        tasks = table.column(TASKS).to_pylist()
        answers = [pickle.dumps(self._answer(pickle.loads(zlib.decompress(task)))) for task in tasks]
        return pyarrow.table({ANSWERS: pyarrow.array(answers, pyarrow.binary())})

    def _answer(self, numbered: list[tuple[int, Job]]) -> TaskResult:
        import ray

        answer = TaskResult()
        if ray.get(self._ledger.begin.remote(numbered[0][0])) > self._attempts:
            return answer
        # Who sent the task is told what went wrong, in words: raised here, Ray would begin it again or show its own
        try:
            self._translate(numbered, answer)
        except CycleganError as error:
            kind = UsageError if isinstance(error, UsageError) else CycleganError
            answer.trouble = kind, f"{error} (on {socket.gethostname()})"
        except Exception:
            answer.trouble = RuntimeError, f"on {socket.gethostname()}:\n{traceback.format_exc()}"
        return answer

    def _translate(self, numbered: list[tuple[int, Job]], answer: TaskResult) -> None:
        number_of = {id(job): number for number, job in numbered}

        def settle(job: Job, failure: Failure | None) -> None:
            answer.settled.append((number_of[id(job)], failure))

        def note(text: str) -> None:
            answer.notes[text] += 1

        if self._translator is None:
            self._translator = self._load()
        translate_jobs(self._work, [job for _, job in numbered], settle, EngineOptions(self._translator, note=note))

    def _load(self) -> Translator:
        import torch

        from cyclegan.system.devices import is_exact, prepare

        if version() != self._made_by:
            raise UsageError(
                f"--engine ray: a node has cyclegan {version()} and this machine {self._made_by}; install the same"
            )
        torch.set_num_threads(self._threads)
        translator = self._work.translator()
        prepare(translator.device, exact=is_exact(self._work.precision))
        return translator


class AttemptCounter:
    """How often each task was begun. It lives beside the driver, so that it is there as long as anyone asks."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        """Count one more beginning of `task`; how many there were."""
        self._begun[task] += 1
        return self._begun[task]
