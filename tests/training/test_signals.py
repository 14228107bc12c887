"""Being asked to stop, at any moment of a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cyclegan.system.signals import STOP_SIGNALS
from cyclegan.training import signals, train
from cyclegan.training.loop_io import output
from cyclegan.training.signals import Interrupted, Preempted, StopRequest, preempted, stop_on_signals
from cyclegan.training.storage.checkpoint import States
from cyclegan.training.update.state import TrainState
from tests.support.run_files import read_status
from tests.support.states import assert_same, newest_state
from tests.support.stops import at_step

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 138}


@pytest.fixture(autouse=True)
def _not_under_nohup() -> Iterator[None]:
    """Whoever runs the tests may have had SIGHUP ignored, which the package leaves as it is."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes by which the process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    return codes


def test_the_first_signal_counts_and_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert stop
        assert stop.signal is signal.SIGUSR1
        assert 0 <= time.monotonic() - stop.since < 60
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_scheduler_may_repeat_itself(left, number):
    with stop_on_signals() as stop:
        for _ in range(3):
            signal.raise_signal(number)
        assert stop
    assert left == []


@pytest.mark.parametrize("first", STOP_SIGNALS)
def test_a_ctrl_c_after_any_request_leaves_at_once(left, first):
    with stop_on_signals():
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGINT)
    assert left == [130]


@pytest.mark.parametrize("name", ["RANK", "TORCHELASTIC_RUN_ID"])
def test_under_torchrun_a_ctrl_c_that_arrives_twice_is_one(left, monkeypatch, name):
    monkeypatch.setenv(name, "0")
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert left == []
        stop.since -= 2 * signals.SAME_REQUEST
        signal.raise_signal(signal.SIGINT)
    assert left == [130]


def test_a_hang_up_that_is_ignored_as_under_nohup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_reader_of_pictures_leaves_signals_to_its_parent(left, monkeypatch):
    with stop_on_signals() as stop:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert (bool(stop), left) == (False, [])


def test_outside_the_main_thread_nothing_is_asked():
    seen: list[StopRequest] = []

    def other() -> None:
        with stop_on_signals() as stop:
            seen.append(stop)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert not seen[0]


def test_where_nothing_is_to_be_saved_a_signal_breaks_off():
    with pytest.raises(Preempted, match="stopped by SIGTERM, with no step done that was not saved") as caught:  # noqa: SIM117
        with stop_on_signals() as stop, stop.interruptible():
            signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143
    stop = StopRequest()
    stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        stop.interrupt_now(True)  # asked for before
    assert not issubclass(Interrupted, Exception)  # no `except Exception` holds it


def test_what_the_run_says_is_true_before_the_first_step_too(tmp_path):
    stop = StopRequest()
    stop.signal = signal.SIGHUP
    assert "at step 0 of 9, nothing to save yet; go on with" in str(preempted(stop, 0, 9, tmp_path))
    assert f"at step 2 of 9, state saved; go on with `cyclegan train --resume {tmp_path}`" in str(
        preempted(stop, 2, 9, tmp_path)
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_signal_saves_the_step_and_says_so(tmp_path, tiny, monkeypatch, number):
    at_step(monkeypatch, 2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Preempted, match=f"stopped by {number.name} at step 2 of 5, state saved") as caught:
        train(tiny(steps=5), tmp_path / "run")
    assert caught.value.exit_code == CODES[number] == 128 + number
    said = read_status(tmp_path / "run")
    assert (said["status"], said["step"]) == ("preempted", 2)
    assert States(tmp_path / "run/checkpoints").load_newest()["step"] == 2


@pytest.mark.slow
def test_a_signal_before_the_first_step_ends_the_run_there_and_the_next_start_is_exact(tmp_path, tiny, monkeypatch):
    config = tiny(steps=2)
    with monkeypatch.context() as patch:
        make = output.open_tracker

        def asked(*arguments: Any, **options: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return make(*arguments, **options)

        patch.setattr(output, "open_tracker", asked)
        with pytest.raises(Preempted, match="with no step done") as caught:
            train(config, tmp_path / "run")
    assert caught.value.exit_code == 143
    assert read_status(tmp_path / "run")["status"] == "preempted"
    assert not list((tmp_path / "run/checkpoints").iterdir())
    train(config, tmp_path / "run")
    assert_same(newest_state(train(config, tmp_path / "whole")), newest_state(tmp_path / "run"))


@pytest.mark.slow
def test_a_signal_in_the_first_step_after_a_resume_leaves_the_state_that_is_there(tmp_path, tiny, monkeypatch):
    run = train(tiny(steps=1), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "step", lambda *arguments: signal.raise_signal(signal.SIGUSR1))
        with pytest.raises(Preempted, match="with no step done"):
            train(tiny(steps=4, decay_steps=0), run)
    assert (read_status(run)["status"], read_status(run)["step"]) == ("preempted", 1)
    assert States(run / "checkpoints").load_newest()["step"] == 1


def test_a_signal_while_a_state_is_written_waits_for_it(tmp_path, tiny, monkeypatch):
    fsync, sent = os.fsync, threading.Event()

    def slow(handle: int) -> None:
        if threading.current_thread().name == "saving" and not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGTERM)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(Preempted, match="state saved") as caught:
        train(tiny(steps=100, state_every=2), tmp_path / "run")
    newest = States(tmp_path / "run/checkpoints").load_newest()["step"]
    assert newest >= 2
    assert f"at step {newest} of 100" in str(caught.value)
    assert (read_status(tmp_path / "run")["status"], read_status(tmp_path / "run")["step"]) == ("preempted", newest)


@pytest.mark.slow
def test_a_signal_while_the_judge_learns_leaves_the_evaluation_and_saves_the_step(tmp_path, small, judge, monkeypatch):
    from cyclegan.training.evaluation import periodic

    config = small(steps=3)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:

        def lesson(*squares: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

        patch.setattr(periodic, "find_classifier", lesson)
        with pytest.raises(Preempted, match="at step 2 of 3, state saved"):
            train(config, tmp_path / "run")
    train(config, tmp_path / "run")
    assert_same(newest_state(whole), newest_state(tmp_path / "run"))


@pytest.mark.slow
def test_a_signal_while_the_gallery_is_made_leaves_it_for_the_next_start(tmp_path, small, monkeypatch):
    from cyclegan.training.evaluation import periodic

    config = small(steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(periodic, "write_gallery", lambda *a, **o: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Preempted):
            train(config, tmp_path / "run")
    assert (read_status(tmp_path / "run")["status"], read_status(tmp_path / "run")["step"]) == ("preempted", 2)
    train(config, tmp_path / "run")
    assert (tmp_path / "run/gallery/gallery.json").exists()
    assert read_status(tmp_path / "run")["status"] == "done"
