"""Worker processes that read pictures; those that die or hang are replaced.

torch's `DataLoader` ends a run with one of its workers: they share a queue, which a killed worker may leave locked.
Here each has a pipe of its own and is replaced at once by one that is given the same requests; since an answer is a
function of its request, the batches are the same.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import signal
import struct
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import torch

from cyclegan.data.loading.buffers import SharedFile
from cyclegan.data.pairing import Request
from cyclegan.errors import CycleganError
from cyclegan.images import escaped
from cyclegan.system.signals import STOP_SIGNALS

PREFETCH = 2  # requests that each worker has at a time
LOSSES = 3  # workers that may be lost without one answer in between
FATAL = 2  # losses at one picture from which on it is left out
SPEAK_S = 30.0  # of waiting until the log says what for; the gaps double
_PARENT_S = 5.0  # interval at which an idle worker checks that the training process lives
_END_S = 5.0  # for workers to end by themselves, all together; what is killed may leave a temporary file
_GRACE_S = 30  # that a worker outlives a SIGTERM; what sends one sends SIGKILL after about as long

log = logging.getLogger("cyclegan.data")  # of what only this one of several processes knows


class PictureSource(Protocol):
    """Answers requests, in a worker or in the training process."""

    at: Callable[[int], None]  # called with the place of each picture before it is touched
    avoided: dict[int, str]  # places of pictures to be taken for unreadable, with the reason

    def __getitem__(self, request: Request) -> Any: ...
    def path(self, place: int) -> Path: ...


class ProgressBoard:
    """The picture that each worker is at and since when, written by the workers.

    It lies in shared memory and not in a pipe, since a worker that hangs sends nothing any more. Where the system
    grants no such memory, no worker is known to be at a picture, and nothing else is lost.
    """

    _entry = struct.Struct("=qd")  # place + 1, or 0 for none; time

    def __init__(self, workers: int) -> None:
        self._file: SharedFile | None = None
        with contextlib.suppress(OSError):
            self._file = SharedFile(workers * self._entry.size)

    def put(self, worker: int, place: int | None) -> None:
        """`worker` begins with the picture at `place`, or is at none: a microsecond."""
        if self._file is not None:
            entry = self._entry.pack(0 if place is None else place + 1, time.monotonic())
            self._file.write(entry, worker * self._entry.size)

    def look(self, worker: int) -> tuple[int, float] | None:
        """The place of the picture that `worker` is at, and since when by the monotonic clock."""
        if self._file is None:
            return None
        entry, since = self._entry.unpack(self._file.read(self._entry.size, worker * self._entry.size))
        return (entry - 1, since) if entry else None


class _Worker(NamedTuple):
    process: Any  # of whichever context
    connection: Connection


class WorkerPool:
    """`count` processes that answer requests out of `source`.

    One that dies, or spends more than `timeout` seconds (0: no limit) on a picture while it is waited for, is replaced
    with a warning. A picture that two workers were lost at counts as unreadable from then on. After the third worker
    lost without an answer in between, the next loss is a `CycleganError`.
    """

    def __init__(self, source: PictureSource, count: int, *, timeout: float, context: str | None = None) -> None:
        self._source = source
        self._timeout = timeout
        self._context: Any = multiprocessing.get_context(context)
        self._board = ProgressBoard(count)
        self._workers: list[_Worker] = []
        self._pending: deque[tuple[int, Request]] = deque()  # by worker, in the order of the answers
        self._avoided: dict[int, str] = {}
        self._lost = 0  # since the last answer
        self._lost_at: Counter[int] = Counter()  # by place
        # Before multiprocessing ends what is left of them at the end of the program, by a signal that they outlive
        self.close = Finalize(self, _end, (self._workers,), exitpriority=10)
        for number in range(count):
            self._workers.append(self._started(number))

    def answers(self, requests: Iterator[Request]) -> Iterator[Any]:
        """The answers to `requests`, in their order; the workers end with it."""
        try:
            for _ in range(PREFETCH):
                for number in range(len(self._workers)):
                    self._give(number, requests)
            while self._pending:
                number, _ = self._pending[0]
                answer = self._awaited(number)
                self._pending.popleft()
                self._give(number, requests)
                yield answer
        finally:
            self.close()

    def _give(self, number: int, requests: Iterator[Request]) -> None:
        request = next(requests, None)
        if request is not None:
            self._pending.append((number, request))
            self._send(number, request)

    def _send(self, number: int, request: Request) -> None:
        with contextlib.suppress(ConnectionError):  # it is dead, which is seen when its answer is waited for
            self._workers[number].connection.send((request, self._avoided))

    def _started(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        self._board.put(number, None)
        # A forked process has these too, and while it has, no other sees that the training process has let go of them
        others = [ours, *(worker.connection for worker in self._workers if not worker.connection.closed)]
        arguments = (self._source, number, self._board, theirs, others)
        process = self._context.Process(target=_work, args=arguments, daemon=True, name=f"reader {number}")
        with signals_afterwards():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _awaited(self, number: int) -> Any:
        """The answer to the oldest request of a worker."""
        began = given = time.monotonic()
        gap = SPEAK_S
        speak = began + gap
        while True:
            process, connection = self._workers[number]
            found = self._board.look(number)
            end = (given if found is None else max(given, found[1])) + (self._timeout or math.inf)
            now = time.monotonic()
            if now >= end:
                process.kill()
                self._replace(number, f"did not get on for {self._timeout:g} s (--worker-timeout)")
                given = time.monotonic()
                continue
            if now >= speak:
                log.warning("waiting for pictures for %.0f s%s", now - began, self._occupation(number, now))
                gap *= 2
                speak = now + gap
            ready = wait([connection, process.sentinel], min(speak, end) - now)
            if ready and connection.poll():  # what it had finished comes first, also from one that is dead
                with contextlib.suppress(EOFError, OSError):
                    answer, fault = connection.recv()
                    if fault is not None:
                        raise RuntimeError(f"in a reader of pictures:\n{fault}")
                    self._lost = 0
                    return answer
            if ready:
                process.join(_END_S)
                self._replace(number, _ended(process.exitcode))
                given = time.monotonic()

    def _occupation(self, number: int, now: float) -> str:
        found = self._board.look(number)
        if found is None:
            return ""
        path = escaped(str(self._source.path(found[0])))
        until = f"; after {self._timeout:g} s (--worker-timeout) it is replaced" if self._timeout else ""
        return f"; the reader has been at {path} for {now - found[1]:.0f} s{until}"

    def _replace(self, number: int, how: str) -> None:
        """Start another worker for one that was lost as `how` says, with the same requests."""
        found = self._board.look(number)
        where = "" if found is None else f" at {escaped(str(self._source.path(found[0])))}"
        self._lost += 1
        if self._lost > LOSSES:
            raise CycleganError(
                f"{self._lost} readers of pictures were lost with no batch in between; the last one {how}{where}. "
                "Mend or remove that picture; where several differ, memory may be short: lower --workers, "
                "or give --cache disk"
            )
        self._workers[number].connection.close()
        self._workers[number].process.join(_END_S)  # not for ever: what waits for a dead disk cannot be killed
        if found is not None:
            self._lost_at[found[0]] += 1
        if found is not None and self._lost_at[found[0]] >= FATAL:
            self._avoided[found[0]] = f"{FATAL} readers were lost at it; the last one {how}"
            log.warning("a reader of pictures %s%s, like one before; that picture is left out from now on", how, where)
        else:
            log.warning("a reader of pictures %s%s; another one goes on with the same pictures", how, where)
        self._workers[number] = self._started(number)
        for worker, request in self._pending:
            if worker == number:
                self._send(number, request)


def _end(workers: list[_Worker]) -> None:
    """Ask workers to end, and kill those that do not."""
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.connection.send(None)
        worker.connection.close()  # one that is about to send an answer must not wait for it to be taken
    end = time.monotonic() + _END_S
    for worker in workers:
        worker.process.join(max(end - time.monotonic(), 0))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(_END_S)
    workers.clear()


def _ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):  # a signal without a name
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _work(source: PictureSource, number: int, board: ProgressBoard, pipe: Connection, others: list[Connection]) -> None:
    """The main function of a worker."""
    for other in others:
        other.close()
    _prepare()
    parent = os.getppid()
    source.at = partial(board.put, number)
    waiting: deque[Any] = deque()
    with contextlib.suppress(EOFError, ConnectionError):  # the training process is gone
        while os.getppid() == parent:
            while pipe.poll(0 if waiting else _PARENT_S):
                waiting.append(pipe.recv())
                if waiting[-1] is None:
                    return
            if waiting:
                request, source.avoided = waiting.popleft()
                answer = fault = None
                try:
                    answer = source[request]
                except Exception:  # our mistake, for the training process to end with: bad pictures are answered
                    fault = traceback.format_exc()
                board.put(number, None)
                pipe.send((answer, fault))


def _prepare() -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads in each would only take turns
    torch.set_num_threads(1)
    # Ctrl-C and hanging up reach every process of a terminal, a scheduler's SIGTERM every process of a job. All are for
    # the training process, which saves its state; a worker that died of them would take time to replace.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_S))


@contextlib.contextmanager
def signals_afterwards() -> Iterator[None]:
    """Delay the handlers of stop signals to the end of the block.

    For forking: Python calls functions of its libraries then, and drops what a handler raises in one of those, with a
    trace on the terminal.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler is called in another
        yield
        return
    came: list[int] = []
    before = {number: handler for number in STOP_SIGNALS if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in came:
            signal.raise_signal(missed)
