"""Being asked to stop: the loop finishes its step, saves, and says how to go on."""

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

# torchrun hands on a signal that the terminal has sent to its processes as well: within this many seconds it is one
SAME_REQUEST = 1.0


T = TypeVar("T")


class Interrupted(BaseException):
    """Raised by the signal itself, where what is being done leaves nothing to save. No `except` for errors holds it."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(f"stopped by {by.name}, with no step done that was not saved")
        self.by = by


class StopRequest:
    """Whether, when and by which signal the process was asked to stop."""

    signal: signal.Signals | None = None
    since: float = 0.0  # time.monotonic() of the request
    _breaks_off = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def interrupt_now(self, yes: bool) -> None:
        """Set whether from here on a request raises `Interrupted` there and then, as one that was made before does now.

        For what takes long and leaves nothing to save: a first step that is compiled for minutes, a judge's lessons.
        """
        self._breaks_off = yes
        if yes and self.signal is not None:
            raise Interrupted(self.signal)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A passage in which a request raises `Interrupted`; see `at_once`."""
        before = self._breaks_off
        try:
            self.interrupt_now(True)
            yield
        finally:
            self._breaks_off = before

    def run_interruptible(self, do: Callable[[], T]) -> T | None:
        """What `do` returns; None where a request comes meanwhile, or has come, and it is broken off."""
        if self._breaks_off:
            return do()
        try:
            with self.interruptible():
                return do()
        except Interrupted:
            return None

    def _note(self, number: int) -> None:
        """Take a signal in: the first is the request, another Ctrl-C ends the process."""
        now = time.monotonic()
        if self.signal is None:
            self.signal, self.since = signal.Signals(number), now
            self.interrupt_now(self._breaks_off)
        elif number == signal.SIGINT and not (_under_torchrun() and now - self.since < SAME_REQUEST):
            os._exit(128 + number)  # no clean-up: whoever asks twice does not want to wait for one


def interruptible(stop: object) -> contextlib.AbstractContextManager[None]:
    """A passage in which a request of this process breaks off; for another kind of `stop` it is any passage."""
    return stop.interruptible() if isinstance(stop, StopRequest) else contextlib.nullcontext()


class Preempted(CycleganError):
    """The run was asked to stop and has saved its state. Exit code 128 + the signal's number, as shells have it."""

    on_every_rank = True

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.exit_code = 128 + by


def preempted(stop: StopRequest, step: int, steps: int, run: Path) -> Preempted:
    """What the loop raises when `stop` ends it after `step` of `steps` steps, all of which are saved."""
    assert stop.signal is not None, "nobody asked"
    saved = "state saved" if step else "nothing to save yet"
    words = f"stopped by {stop.signal.name} at step {step} of {steps}, {saved}"
    return Preempted(f"{words}; go on with `cyclegan train --resume {run}`", stop.signal)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM, SIGHUP or SIGUSR1 into a request; a second Ctrl-C ends the process at once.

    The others may come again as often as they like: a scheduler has SIGKILL for what it will not wait for. SIGHUP
    stays ignored where it was, as `nohup` has it. Outside the main thread Python delivers no signals, and the request
    stays false. `Interrupted` leaves as `Preempted`.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:  # readers of pictures are forked with this handler; they end with their parent
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
