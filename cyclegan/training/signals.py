"""Requests to stop by signals: the loop finishes its step, saves, and tells how to resume."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

from cyclegan.errors import CycleganError
from cyclegan.system.signals import stop_signals

# torchrun forwards a signal that the terminal has sent to its processes as well: within so many seconds it is one
SAME_REQUEST = 1.0


T = TypeVar("T")


class Interrupted(BaseException):
    """Raised by the signal handler where there is nothing to save. Not an `Exception`, so that no handler holds it."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(f"stopped by {by.name}, with no step done that was not saved")
        self.by = by


class StopRequest:
    """State of a request to stop: whether, when and by which signal."""

    signal: signal.Signals | None = None
    since: float = 0.0  # time.monotonic() of the request
    _breaks_off = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def interrupt_now(self, yes: bool) -> None:
        """Set whether a request raises `Interrupted` at once, as one made before does now.

        For what takes long and leaves nothing to save: compiling the first step, training the judge.
        """
        self._breaks_off = yes
        if yes and self.signal is not None:
            raise Interrupted(self.signal)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Context in which a request raises `Interrupted`; see `interrupt_now`."""
        before = self._breaks_off
        try:
            self.interrupt_now(True)
            yield
        finally:
            self._breaks_off = before

    def run_interruptible(self, do: Callable[[], T]) -> T | None:
        """The result of `do`, or None where a request has come or comes meanwhile and breaks it off."""
        if self._breaks_off:
            return do()
        try:
            with self.interruptible():
                return do()
        except Interrupted:
            return None

    def _note(self, number: int) -> None:
        """Record a signal: the first is the request, another Ctrl-C ends the process."""
        now = time.monotonic()
        if self.signal is None:
            self.signal, self.since = signal.Signals(number), now
            self.interrupt_now(self._breaks_off)
        elif number == signal.SIGINT and not (_under_torchrun() and now - self.since < SAME_REQUEST):
            os._exit(128 + number)  # without clean-up, which nobody who asks twice wants to wait for


def interruptible(stop: object) -> contextlib.AbstractContextManager[None]:
    """`stop.interruptible()` for a request of this process; for other kinds of `stop` a null context."""
    return stop.interruptible() if isinstance(stop, StopRequest) else contextlib.nullcontext()


class Preempted(CycleganError):
    """The run was asked to stop and has saved its state. Exit code 128 + number of the signal, as in shells."""

    on_every_rank = True

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.exit_code = 128 + by


def preempted(stop: StopRequest, step: int, steps: int, run: Path) -> Preempted:
    """The error that ends the loop by `stop` after `step` of `steps` steps, all of which are saved."""
    assert stop.signal is not None, "nobody asked"
    saved = "state saved" if step else "nothing to save yet"
    words = f"stopped by {stop.signal.name} at step {step} of {steps}, {saved}"
    return Preempted(f"{words}; go on with `cyclegan train --resume {run}`", stop.signal)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM, SIGHUP or SIGUSR1 into a request; a second Ctrl-C ends the process at once.

    Others may come repeatedly: a scheduler has SIGKILL for what it will not wait for. SIGHUP stays ignored where it
    was, as by `nohup`. Outside the main thread Python delivers no signals, and the request
    stays false. `Interrupted` leaves as `Preempted`.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:  # reader processes are forked with this handler; they end with their parent
            request._note(number)

    before = {number: signal.signal(number, handle) for number in stop_signals()}
    try:
        yield request
    except Interrupted as event:
        raise Preempted(f"{event}; go on by the same command", event.by) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or "RANK" in os.environ
