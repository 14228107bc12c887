"""Saving beside training: what is saved is one step, and nothing is said to be saved before it is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.training import train
from cyclegan.training.signals import StopRequest
from cyclegan.training.storage import async_saver
from cyclegan.training.storage import run_directory as running
from cyclegan.training.storage.async_saver import AsyncSaver
from cyclegan.training.storage.checkpoint import States
from cyclegan.training.storage.run_directory import DiskTimeout
from tests.models.examples import generators


class Directory:
    """A run directory whose status is a list."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []

    def status(self, status: str, step: int) -> None:
        self.said.append((status, step))


class Record:
    """A tracker that notes what it is told, and by which thread."""

    def __init__(self) -> None:
        self.models: list[tuple[int, str, int]] = []

    def model(self, step: int, path: Path) -> None:
        self.models.append((step, path.name, threading.get_ident()))


class Disk:
    """A disk that can be told to stop answering: `fsync` waits until it is told to go on."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        self._fsync = os.fsync

    def fsync(self, handle: int) -> None:
        self.asked.set()
        self.answers.wait()
        self._fsync(handle)

    def hangs(self) -> None:
        self.asked.clear()
        self.answers.clear()

    def wakes(self) -> None:
        self.answers.set()
        for thread in threading.enumerate():
            if thread.name in ("saving", "record-end"):
                thread.join()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    slow = Disk()
    monkeypatch.setattr(os, "fsync", slow.fsync)
    yield slow
    slow.wakes()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., AsyncSaver]:
    """`make(every=0)` is a saver of the two example generators, into an empty folder."""

    def saver(every: int = 0) -> AsyncSaver:
        players = nn.ModuleDict(generators())
        return AsyncSaver(
            Directory(), States(tmp_path), Record(), players, {"method": "cyclegan"},  # type: ignore[arg-type]
            every=every, step=0, stop=StopRequest(),
        )  # fmt: skip

    return saver


def save(saver: AsyncSaver, step: int, net: nn.Module, *, final: bool = False) -> None:
    saver.save(step, about={"config": {}}, final=final, net=net)


def test_the_state_is_that_of_its_step_whatever_training_does_meanwhile(make, disk, tmp_path):
    saver, net = make(), nn.Linear(2, 2)
    weights = net.weight.detach().clone()
    disk.hangs()
    save(saver, 5, net)
    with torch.no_grad():
        net.weight.fill_(7.0)
    assert not list(tmp_path.glob("state-*.pt"))
    disk.wakes()
    saver.close()
    state = saver.states.load_newest()
    assert state["step"] == 5
    assert torch.equal(state["net"]["weight"], weights)


def test_nothing_says_that_a_step_is_saved_before_it_is_and_this_thread_alone_tells_the_tracker(make, disk):
    saver = make()
    disk.hangs()
    save(saver, 5, nn.Linear(2, 2), final=True)
    disk.asked.wait()
    saver.check()
    assert (saver.directory.said, saver.tracker.models, saver.step) == ([], [], 0)
    disk.wakes()
    assert saver.directory.said == [("running", 5)]
    assert saver.tracker.models == []
    saver.check()
    assert saver.tracker.models == [(5, "generators-00000005.safetensors", threading.get_ident())]
    assert saver.step == 5


def test_the_record_names_the_generators_that_stay(make):
    saver = make(every=4)
    for step in (2, 4, 6):
        save(saver, step, nn.Linear(2, 2), final=step == 6)
    saver.close()
    assert [model[:2] for model in saver.tracker.models] == [
        (4, "generators-00000004.safetensors"),
        (6, "generators-00000006.safetensors"),
    ]
    assert sorted(path.name for path in saver.states.folder.glob("generators-*")) == [
        "generators-00000004.safetensors",
        "generators-00000006.safetensors",
    ]


def test_an_error_of_the_disk_reaches_the_training_at_its_next_look(make, monkeypatch, tmp_path):
    saver, net = make(), nn.Linear(2, 2)
    save(saver, 1, net)
    saver.close()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    save(saver, 2, net)
    threads = [thread for thread in threading.enumerate() if thread.name == "saving"]
    for thread in threads:
        thread.join()
    with pytest.raises(CycleganError, match=r"state-00000002.pt could not be written .*before are intact: make room"):
        saver.check()
    saver.check()  # once
    assert saver.directory.said == [("running", 1)]
    assert sorted(os.listdir(tmp_path)) == [
        "generators-00000001.safetensors", "state-00000001.pt", "state-00000001.pt.sha256",
    ]  # fmt: skip


def test_a_second_save_waits_for_the_first_and_says_so_once(make, disk, monkeypatch, caplog):
    monkeypatch.setattr(async_saver, "SLOW", 0.05)
    monkeypatch.setattr(async_saver, "SLICE", 0.02)
    saver, net = make(), nn.Linear(2, 2)
    disk.hangs()
    save(saver, 1, net)
    timer = threading.Timer(0.3, disk.answers.set)
    timer.start()
    save(saver, 2, net)
    saver.close()
    timer.join()
    assert saver.directory.said == [("running", 1), ("running", 2)]
    assert len([line for line in caplog.text.splitlines() if "waiting for the disk" in line and "step 1" in line]) == 1


def test_after_a_request_to_stop_a_disk_that_hangs_is_waited_for_in_bounds(make, disk, monkeypatch):
    for name, seconds in (("PATIENCE_ASKED", 0.1), ("LEAST", 0.1), ("SLICE", 0.02)):
        monkeypatch.setattr(async_saver, name, seconds)
    saver, net = make(), nn.Linear(2, 2)
    save(saver, 3, net)
    saver.close()
    disk.hangs()
    save(saver, 4, net)
    threading.Timer(0.1, lambda: setattr(saver.stop, "signal", signal.SIGTERM)).start()
    with pytest.raises(DiskTimeout, match=r"has not taken step 4 within \d+ s; the newest state there is of step 3"):
        save(saver, 5, net)  # waits for step 4, as long as nobody asks
    disk.wakes()
    assert saver.directory.said == [("running", 3)]  # a run that has given up says nothing more


def test_at_the_end_a_disk_that_hangs_is_waited_for_in_bounds(make, disk, monkeypatch):
    monkeypatch.setattr(async_saver, "PATIENCE", 0.1)
    saver = make()
    disk.hangs()
    save(saver, 4, nn.Linear(2, 2))
    with pytest.raises(DiskTimeout, match="no state is there"):
        saver.close()


def test_where_memory_is_short_training_waits_for_the_disk(make, monkeypatch):
    monkeypatch.setattr(async_saver, "available_memory", lambda: 0)
    saver = make()
    save(saver, 4, nn.Linear(2, 2))
    assert saver.step == 4
    assert not [thread for thread in threading.enumerate() if thread.name == "saving" and thread.is_alive()]


def test_a_run_that_fails_still_gets_what_was_caught_to_the_disk_and_keeps_its_error(make, disk):
    saver = make()
    disk.hangs()
    threading.Timer(0.1, disk.answers.set).start()
    save(saver, 4, nn.Linear(2, 2))
    with pytest.raises(ZeroDivisionError), saver:
        _ = 1 / 0
    assert saver.states.load_newest()["step"] == 4


@pytest.mark.slow
def test_training_goes_on_while_the_disk_takes_its_time(tmp_path, tiny, disk, monkeypatch):
    from cyclegan.training.update.ema import EMA

    update, steps = EMA.update, []

    def counted(self: EMA, step: int) -> None:
        update(self, step)
        steps.append(step)
        if step == 2:
            disk.hangs()
        if step == 4:  # the state of step 2 is still under way
            assert disk.asked.wait(10)
            assert not (tmp_path / "run/checkpoints/state-00000002.pt").exists()
            disk.answers.set()

    monkeypatch.setattr(EMA, "update", counted)
    run = train(tiny(steps=5, state_every=2), tmp_path / "run")
    assert steps == [1, 2, 3, 4, 5]
    assert States(run / "checkpoints").load_newest()["step"] == 5


def hanging_from(monkeypatch: pytest.MonkeyPatch, disk: Disk, step: int, do: Callable[[], Any] = lambda: None) -> None:
    from cyclegan.training.update.ema import EMA

    update = EMA.update

    def counted(self: EMA, now: int) -> None:
        update(self, now)
        if now == step:
            disk.hangs()
            do()

    monkeypatch.setattr(EMA, "update", counted)


@pytest.mark.slow
def test_a_disk_that_hangs_in_mid_run_ends_it_with_a_sentence(tmp_path, tiny, disk, monkeypatch, caplog):
    monkeypatch.setattr(async_saver, "PATIENCE_ASKED", 0.2)
    monkeypatch.setattr(async_saver, "LEAST", 0.2)
    monkeypatch.setattr(running, "PATIENCE_HANGING", 0.2)
    hanging_from(monkeypatch, disk, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(DiskTimeout, match="the newest state there is of step 1") as caught:
        train(tiny(steps=9, state_every=1), tmp_path / "run")
    assert caught.value.exit_code == 1
    assert "how the run ended could not be recorded" in caplog.text
    disk.wakes()
    assert train(tiny(steps=3, decay_steps=0), tmp_path / "run")
