"""The exit code of `--nproc N` where a signal comes late."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.launcher.api import LaunchConfig

from cyclegan.system.signals import STOP_SIGNALS
from cyclegan.training.distributed import launch as launching
from cyclegan.training.distributed.launch import ProcessesEnded, launch

handled: list[str] = []  # what torch's engine was told to hand on
NUMBERS = [*STOP_SIGNALS, signal.SIGQUIT]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path


def write(run: Path, status: str) -> None:
    (run / "status.json").write_text(json.dumps({"status": status}))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """`engine(play)` puts `play` in the place of processes; then a SIGTERM comes."""

    def plant(play: Callable[[], None]) -> None:
        def elastic_launch(config: LaunchConfig, entry: str) -> Callable[..., None]:
            def start(*words: str) -> None:
                handled.append(config.signals_to_handle)
                play()
                raise SignalException("asked", signal.SIGTERM)

            return start

        handled.clear()
        monkeypatch.setattr(launching, "elastic_launch", elastic_launch)

    return plant


def test_under_nohup_a_terminal_that_closes_is_none_of_its_concern(run: Path, engine) -> None:
    engine(lambda: write(run, "done"))
    for disposition in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGHUP, disposition)
        launch(2, ["train"], run)
    assert handled == ["SIGINT,SIGTERM,SIGHUP,SIGUSR1,SIGQUIT", "SIGINT,SIGTERM,SIGUSR1,SIGQUIT"]


def test_a_signal_that_comes_when_all_is_over_changes_nothing(run: Path, engine) -> None:
    engine(lambda: write(run, "failed"))
    with pytest.raises(ProcessesEnded) as caught:
        launch(2, ["train"], run)
    assert caught.value.exit_code == 1
    engine(lambda: write(run, "done"))
    launch(2, ["train"], run)
    assert {signal.getsignal(number) for number in NUMBERS} == {signal.SIG_IGN}, "nor does another one"


@pytest.mark.parametrize("before", ["nothing", "done", "failed", "damaged"])
@pytest.mark.parametrize("after", ["preempted", "as before"])
def test_any_other_ends_it_as_it_would_a_single_process(run: Path, engine, before: str, after: str) -> None:
    if before != "nothing":
        write(run, before)
        os.utime(run / "status.json", ns=(10**18, 10**18))  # long ago
    if before == "damaged":
        (run / "status.json").write_text("{")
    engine((lambda: None) if after == "as before" else (lambda: write(run, after)))
    with pytest.raises(ProcessesEnded) as caught:
        launch(2, ["train"], run)
    assert caught.value.exit_code == 143
