"""Being asked to stop: the loop finishes its step, saves, and says how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from cyclegan.errors import CycleganError


class StopRequest:
    """Whether, and by which signal, the process was asked to stop."""

    signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


class Preempted(CycleganError):
    """The run was asked to stop and has saved its state. Exit code 128 + the signal's number, as shells have it."""

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.exit_code = 128 + by


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; the second ends the process at once.

    Outside the main thread Python delivers no signals, and the request stays false.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request:
            os._exit(128 + number)  # no clean-up: whoever asks twice does not want to wait for one
        request.signal = signal.Signals(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
