"""Processes that read pictures, and what becomes of one that dies or does not get on.

torch's `DataLoader` ends a run with one of its workers: they share a queue, which a worker that is killed may leave
locked. Here each has a pipe of its own. So it can be replaced at once, by one that is given the same requests; and
since an answer is a function of its request, nobody sees a difference.
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
from types import FrameType
from typing import Any, NamedTuple, Protocol

import cv2
import torch

from cyclegan.data.loading.buffers import SharedFile
from cyclegan.data.pairing import Request
from cyclegan.errors import CycleganError
from cyclegan.images import escaped
from cyclegan.system.signals import STOP_SIGNALS

PREFETCH = 2  # requests that each reader has at a time
LOSSES = 3  # readers that may be lost without one answer in between
FATAL = 2  # losses at one picture from which on it is left out
SPEAK_S = 30.0  # of waiting until it is said what for; the gaps double
_PARENT_S = 5.0  # how often an idle reader looks whether there is still somebody to read for
_END_S = 5.0  # what readers are given to end by themselves, all together; what is killed may leave a temporary file
_SIGNALS = {number.value for number in signal.Signals}  # those with a name

log = logging.getLogger("cyclegan.data")  # of what only this one of several processes knows


class PictureSource(Protocol):
    """What answers requests, in a reader or in the training process."""

    at: Callable[[int], None]  # to be told the place of each picture before it is touched
    avoided: dict[int, str]  # places of pictures to be taken for unreadable, with the reason

    def __getitem__(self, request: Request) -> Any: ...
    def path(self, place: int) -> Path:
        """The file of the picture at `place`."""


class ProgressBoard:
    """What each reader is at: a picture and since when, or nothing. It writes, the training process looks.

    It lies in shared memory and not in a pipe, since a reader that hangs tells nothing any more. Where the system
    grants no such memory nobody knows what a reader is at, and that is all that is lost.
    """

    _entry = struct.Struct("=qd")
    _nothing = -1

    def __init__(self, readers: int) -> None:
        self._file: SharedFile | None = None
        with contextlib.suppress(OSError):
            self._file = SharedFile(readers * self._entry.size)
        for reader in range(readers):
            self.clear(reader)

    def put(self, reader: int, place: int) -> None:
        """`reader` begins with the picture at `place`: a microsecond."""
        if self._file is not None:
            self._file.write(self._entry.pack(place, time.monotonic()), reader * self._entry.size)

    def clear(self, reader: int) -> None:
        """`reader` is at nothing."""
        self.put(reader, self._nothing)

    def look(self, reader: int) -> tuple[int, float] | None:
        """The place of the picture that `reader` is at and since when by the monotonic clock; None for nothing."""
        if self._file is None:
            return None
        place, since = self._entry.unpack(self._file.read(self._entry.size, reader * self._entry.size))
        return None if place == self._nothing else (place, since)


class _Reader(NamedTuple):
    process: Any  # of whichever context
    connection: Connection


class _Broken(NamedTuple):
    """Our own mistake in a reader."""

    traceback: str


class WorkerPool:
    """So many processes that answer requests out of `source`.

    One that dies, or that a picture keeps longer than `timeout` seconds while it is waited for (0: no such limit), is
    replaced, and said. A picture that two readers were lost at is taken for unreadable from then on. After the third
    reader lost without an answer in between the next loss is a `CycleganError`.
    """

    def __init__(self, source: PictureSource, count: int, *, timeout: float, context: str | None = None) -> None:
        self._source = source
        self._timeout = timeout
        self._context: Any = multiprocessing.get_context(context)
        self._desk = ProgressBoard(count)
        self._crew: list[_Reader] = []
        self._pending: deque[tuple[int, Request]] = deque()  # by reader, in the order of the answers
        self._avoided: dict[int, str] = {}
        self._lost = 0  # since the last answer
        self._lost_at: Counter[int] = Counter()  # by place
        # Before multiprocessing ends what is left of them at the end of the program, by a signal that they outlive
        self.close = Finalize(self, _end, (self._crew,), exitpriority=10)
        for number in range(count):
            self._crew.append(self._started(number))

    def answers(self, requests: Iterator[Request]) -> Iterator[Any]:
        """What the readers make of `requests`, in their order; the readers end with it."""
        try:
            for _ in range(PREFETCH):
                for number in range(len(self._crew)):
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
            self._crew[number].connection.send((request, self._avoided))

    def _started(self, number: int) -> _Reader:
        ours, theirs = self._context.Pipe()
        self._desk.clear(number)
        # A forked process has these too, and while it has, no other sees that the training process has let go of them
        others = [ours, *(reader.connection for reader in self._crew if not reader.connection.closed)]
        arguments = (self._source, number, self._desk, theirs, others)
        process = self._context.Process(target=_read, args=arguments, daemon=True, name=f"reader {number}")
        with signals_afterwards():
            process.start()
        theirs.close()
        return _Reader(process, ours)

    def _awaited(self, number: int) -> Any:
        """The answer to the oldest request of a reader."""
        began = given = time.monotonic()
        gap = SPEAK_S
        speak = began + gap
        while True:
            process, connection = self._crew[number]
            found = self._desk.look(number)
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
                    return self._taken(connection.recv())
            if ready:
                process.join(_END_S)
                self._replace(number, _ended(process.exitcode))
                given = time.monotonic()

    def _taken(self, answer: Any) -> Any:
        if isinstance(answer, _Broken):
            raise RuntimeError(f"in a reader of pictures:\n{answer.traceback}")
        self._lost = 0
        return answer

    def _occupation(self, number: int, now: float) -> str:
        found = self._desk.look(number)
        if found is None:
            return ""
        path = escaped(str(self._source.path(found[0])))
        until = f"; after {self._timeout:g} s (--worker-timeout) it is replaced" if self._timeout else ""
        return f"; the reader has been at {path} for {now - found[1]:.0f} s{until}"

    def _replace(self, number: int, how: str) -> None:
        """Another reader for one that is dead, with the same requests; `how` says what became of it."""
        found = self._desk.look(number)
        where = "" if found is None else f" at {escaped(str(self._source.path(found[0])))}"
        self._lost += 1
        if self._lost > LOSSES:
            raise CycleganError(
                f"{self._lost} readers of pictures were lost with no batch in between; the last one {how}{where}. "
                "Mend or remove that picture; where several differ, memory may be short: lower --workers, "
                "or give --cache disk"
            )
        self._crew[number].connection.close()
        self._crew[number].process.join(_END_S)  # not for ever: what waits for a dead disk cannot be killed
        if found is not None:
            self._lost_at[found[0]] += 1
        if found is not None and self._lost_at[found[0]] >= FATAL:
            self._avoided[found[0]] = f"{FATAL} readers were lost at it; the last one {how}"
            log.warning("a reader of pictures %s%s, like one before; that picture is left out from now on", how, where)
        else:
            log.warning("a reader of pictures %s%s; another one goes on with the same pictures", how, where)
        self._crew[number] = self._started(number)
        for reader, request in self._pending:
            if reader == number:
                self._send(number, request)


def _end(crew: list[_Reader]) -> None:
    """Let readers end, or end them."""
    for reader in crew:
        with contextlib.suppress(OSError):
            reader.connection.send(None)
        reader.connection.close()  # one that is about to send an answer must not wait for it to be taken
    end = time.monotonic() + _END_S
    for reader in crew:
        reader.process.join(max(end - time.monotonic(), 0))
        if reader.process.is_alive():
            reader.process.kill()
            reader.process.join(_END_S)
    crew.clear()


def _ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name if -code in _SIGNALS else f'signal {-code}'}"


def _read(
    source: PictureSource, number: int, desk: ProgressBoard, connection: Connection, others: list[Connection]
) -> None:
    """What a reader does."""
    for other in others:
        other.close()
    _prepare()
    parent = os.getppid()
    source.at = partial(desk.put, number)
    waiting: deque[Any] = deque()
    with contextlib.suppress(EOFError, ConnectionError):  # the training process is gone
        while os.getppid() == parent:
            while connection.poll(0 if waiting else _PARENT_S):
                waiting.append(connection.recv())
                if waiting[-1] is None:
                    return
            if waiting:
                request, source.avoided = waiting.popleft()
                answer = _answered(source, request)
                desk.clear(number)
                connection.send(answer)


def _answered(source: PictureSource, request: Request) -> Any:
    try:
        return source[request]
    except Exception:
        # Whatever is wrong with a picture is in the answer: this is for the training process to end with
        return _Broken(traceback.format_exc())


def _prepare() -> None:
    cv2.setNumThreads(0)  # the readers are the parallelism; threads in each would only take turns
    torch.set_num_threads(1)
    leave_to_the_trainer()


_GRACE_S = 30  # how long a reader outlives a SIGTERM; what sends one sends SIGKILL after about as long


@contextlib.contextmanager
def signals_afterwards() -> Iterator[None]:
    """A passage after which the handlers of signals are called that came within it.

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


def leave_to_the_trainer() -> None:
    """In a reader: Ctrl-C reaches every process of a terminal, as hanging up does, and a scheduler's SIGTERM every
    process of a job. All are for the training process, which saves its state; a reader that died of them would take
    time to replace.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(signum: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE_S)
