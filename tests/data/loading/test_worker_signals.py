"""Signals while readers are started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from cyclegan.data.loading.workers import deferred_signals


class Asked(BaseException):
    """Raised by the handler, as `cyclegan.training.signals` does."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def ask(number: int, frame: FrameType | None) -> None:
        raise Asked(number)

    before = signal.signal(signal.SIGUSR1, ask)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_comes_within_is_heard_afterwards() -> None:
    done = []

    def passage() -> None:
        with deferred_signals():
            signal.raise_signal(signal.SIGUSR1)
            done.append("all of it")

    with pytest.raises(Asked):
        passage()
    assert done == ["all of it"]
    with pytest.raises(Asked):
        signal.raise_signal(signal.SIGUSR1)


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with deferred_signals():
        signal.raise_signal(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_in_another_thread_there_is_nothing_to_hold_back() -> None:
    done = []

    def passage() -> None:
        with deferred_signals():
            done.append("all of it")

    thread = threading.Thread(target=passage)
    thread.start()
    thread.join()
    assert done == ["all of it"]
