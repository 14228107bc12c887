"""Signals and readers of pictures: what they leave to the training process, and when that may not be disturbed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from cyclegan.signals import ASKING

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
    before = {number: handler for number in ASKING if callable(handler := signal.getsignal(number))}
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
