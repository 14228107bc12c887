"""Worker processes that read pictures; those that die or hang are replaced.

torch's `DataLoader` ends a run when one of its workers dies: they share a queue, which a killed worker may leave
locked. Here each worker has its own pipe and is replaced at once by another one that gets the same requests; since an
answer is a function of its request, the batches are the same.
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

PREFETCH = 2  # requests in flight per worker
LOSSES = 3  # workers that may be lost without an answer in between
FATAL = 2  # losses at one picture after which it is left out
WARN_S = 30.0  # of waiting before the first warning; the interval doubles
_PARENT_S = 5.0  # interval at which an idle worker checks that the training process lives
_END_S = 5.0  # for all workers together to end by themselves; a killed one may leave a temporary file
_GRACE_S = 30  # that a worker outlives a SIGTERM, which is commonly followed by SIGKILL after about as long

log = logging.getLogger("cyclegan.data")  # for events that only this one of several processes knows


class PictureSource(Protocol):
    """Source of answers to requests, in a worker or in the training process."""

    at: Callable[[int], None]  # called with the place of each picture before it is touched
    avoided: dict[int, str]  # places of pictures to treat as unreadable, with the reason

    def __getitem__(self, request: Request) -> Any: ...
    def path(self, place: int) -> Path: ...


class ProgressBoard:
    """The current picture of each worker and its start time, written by the workers.

    It is in shared memory and not in a pipe, since a worker that hangs sends nothing. If the system grants no such
    memory, the current pictures are unknown, and nothing else is lost.
    """

    _entry = struct.Struct("=qd")  # place + 1, or 0 for none; time

    def __init__(self, workers: int) -> None:
        self._file: SharedFile | None = None
        with contextlib.suppress(OSError):
            self._file = SharedFile(workers * self._entry.size)

    def put(self, worker: int, place: int | None) -> None:
        """Record that `worker` starts with the picture at `place`, or has none; takes a microsecond."""
        if self._file is not None:
            entry = self._entry.pack(0 if place is None else place + 1, time.monotonic())
            self._file.write(entry, worker * self._entry.size)

    def get(self, worker: int) -> tuple[int, float] | None:
        """The place of the current picture of `worker`, and its start by the monotonic clock."""
        if self._file is None:
            return None
        entry, start = self._entry.unpack(self._file.read(self._entry.size, worker * self._entry.size))
        return (entry - 1, start) if entry else None


class _Worker(NamedTuple):
    process: Any  # a process of any context
    connection: Connection


class WorkerPool:
    """Pool of `count` processes that answer requests from `source`.

    A worker that dies, or spends more than `timeout` seconds (0: no limit) on a picture while its answer is awaited, is
    replaced with a warning. A picture at which two workers were lost counts as unreadable from then on. After three
    workers lost without an answer in between, the next loss raises `CycleganError`.
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
        # At exit, before multiprocessing ends remaining workers by a signal that they outlive
        self.close = Finalize(self, _end, (self._workers,), exitpriority=10)
        for number in range(count):
            self._workers.append(self._started(number))

    def answers(self, requests: Iterator[Request]) -> Iterator[Any]:
        """Yield the answers to `requests` in order; the workers end with the generator."""
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
        with contextlib.suppress(ConnectionError):  # it is dead, which is detected when its answer is awaited
            self._workers[number].connection.send((request, self._avoided))

    def _started(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        self._board.put(number, None)
        # A forked process inherits these: while they are open, no worker notices that the training process closed them
        inherited = [ours, *(worker.connection for worker in self._workers if not worker.connection.closed)]
        arguments = (self._source, number, self._board, theirs, inherited)
        process = self._context.Process(target=_work, args=arguments, daemon=True, name=f"reader {number}")
        with deferred_signals():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _awaited(self, number: int) -> Any:
        """The answer to the oldest request of a worker."""
        began = given = time.monotonic()
        interval = WARN_S
        next_warning = began + interval
        while True:
            process, connection = self._workers[number]
            found = self._board.get(number)
            deadline = (given if found is None else max(given, found[1])) + (self._timeout or math.inf)
            now = time.monotonic()
            if now >= deadline:
                process.kill()
                self._replace(number, f"made no progress for {self._timeout:g} s (--worker-timeout)")
                given = time.monotonic()
                continue
            if now >= next_warning:
                log.warning("waiting for pictures for %.0f s%s", now - began, self._occupation(number, now))
                interval *= 2
                next_warning = now + interval
            ready = wait([connection, process.sentinel], min(next_warning, deadline) - now)
            if ready and connection.poll():  # a finished answer comes first, even from a dead worker
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
        found = self._board.get(number)
        if found is None:
            return ""
        path = escaped(str(self._source.path(found[0])))
        until = f"; after {self._timeout:g} s (--worker-timeout) it is replaced" if self._timeout else ""
        return f"; the reader has been at {path} for {now - found[1]:.0f} s{until}"

    def _replace(self, number: int, loss: str) -> None:
        """Start another worker with the requests of a lost one; `loss` describes the loss."""
        found = self._board.get(number)
        at = "" if found is None else f" at {escaped(str(self._source.path(found[0])))}"
        self._lost += 1
        if self._lost > LOSSES:
            raise CycleganError(
                f"{self._lost} readers of pictures were lost with no batch in between; the last one {loss}{at}. "
                "Mend or remove that picture; where several differ, memory may be short: lower --workers, "
                "or give --cache disk"
            )
        self._workers[number].connection.close()
        self._workers[number].process.join(_END_S)  # limited: a process that waits for a dead disk cannot be killed
        if found is not None:
            self._lost_at[found[0]] += 1
        if found is not None and self._lost_at[found[0]] >= FATAL:
            self._avoided[found[0]] = f"{FATAL} readers were lost at it; the last one {loss}"
            log.warning("a reader of pictures %s%s, like one before; that picture is left out from now on", loss, at)
        else:
            log.warning("a reader of pictures %s%s; another one continues with the same pictures", loss, at)
        self._workers[number] = self._started(number)
        for worker, request in self._pending:
            if worker == number:
                self._send(number, request)


def _end(workers: list[_Worker]) -> None:
    """Tell workers to end, and kill those that do not."""
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.connection.send(None)
        worker.connection.close()  # so that one which is about to send an answer does not block
    end = time.monotonic() + _END_S
    for worker in workers:
        worker.process.join(max(end - time.monotonic(), 0))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(_END_S)
    workers.clear()


def _ended(code: int | None) -> str:
    """Describe an exit code."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):  # a signal without a name
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _work(source: PictureSource, number: int, board: ProgressBoard, pipe: Connection, unused: list[Connection]) -> None:
    """The main function of a worker."""
    for connection in unused:
        connection.close()
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
                except Exception:  # our mistake, which ends the training process: unreadable pictures give an answer
                    fault = traceback.format_exc()
                board.put(number, None)
                pipe.send((answer, fault))


def _prepare() -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads in each would only compete
    torch.set_num_threads(1)
    # Ctrl-C and SIGHUP reach every process of a terminal, a scheduler's SIGTERM every process of a job. All are for the
    # training process, which saves its state; a worker that died of them would take time to replace.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_S))


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Delay the handlers of stop signals to the end of the block.

    Needed for forking: Python then calls functions of its libraries, and drops an exception that a handler raises in
    one of them, with a trace on the terminal.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler is called in another
        yield
        return
    received: list[int] = []
    before = {number: handler for number in STOP_SIGNALS if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for delayed in received:
            signal.raise_signal(delayed)
