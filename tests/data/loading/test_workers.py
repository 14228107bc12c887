"""Readers that die, hang or raise: what follows is the same as undisturbed, or one sentence with the file."""

import logging
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from cyclegan.config import TrainConfig
from cyclegan.data import dataset
from cyclegan.data.dataset import build_loader
from cyclegan.data.loading import workers as readers
from cyclegan.data.loading.workers import ProgressBoard
from cyclegan.data.sets import find_sets
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import Picture, read_picture
from tests.support.batches import Batch, batch_bytes, load_batches, load_bytes

Folder = Callable[..., Path]
Reading = Callable[[Callable[[Path], None]], None]
STEPS = 12


@pytest.fixture
def config(folder: Folder) -> TrainConfig:
    a, b = folder("horses", 13, size=24), folder("zebras", 10, size=20)
    return TrainConfig(
        a=str(a), b=str(b), load_size=20, crop_size=16, workers=2, seed=3, holdout=0, cache="off", worker_timeout=60
    )


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    """`reading(fault)` has `fault(path)` called before each picture is read, in whichever process that is."""

    def plant(fault: Callable[[Path], None]) -> None:
        def read(path: Path, **options: int | None) -> Picture:
            fault(path)
            return read_picture(path, **options)

        monkeypatch.setattr(dataset, "read_picture", read)

    return plant


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(path: Path) -> None:
    time.sleep(1000)


def first_time(marks: Path, name: str, fault: Callable[[Path], None]) -> Callable[[Path], None]:
    """`fault` at the picture called `name`, the first time that any process comes to it."""

    def planted(path: Path) -> None:
        mark = marks / "came"
        if path.name == name and not mark.exists():
            mark.touch()
            fault(path)

    return planted


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 7), f"was killed by signal {signal.SIGRTMIN + 7}"),
        (lambda: os._exit(3), "ended with exit code 3"),
    ],
    ids=["killed", "killed by a signal without a name", "ended"],
)
def test_what_follows_a_dead_reader_is_the_same_and_it_is_said_with_the_file(
    workers: int,
    end: Callable[[], None],
    words: str,
    config: TrainConfig,
    reading: Reading,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = load_bytes(replace(config, workers=0))
    reading(first_time(tmp_path, "004.png", lambda path: end()))
    with caplog.at_level(logging.WARNING, "cyclegan"):
        found = load_batches(replace(config, workers=workers))
    assert batch_bytes(found) == expected
    assert not any(batch["unreadable"] for batch in found)
    (said,) = caplog.messages
    assert said.startswith(f"a reader of pictures {words} at {tmp_path}")
    assert said.endswith("004.png; another one continues with the same pictures")


@pytest.mark.process
def test_readers_that_are_killed_while_nobody_looks_are_replaced(config: TrainConfig) -> None:
    expected = load_bytes(replace(config, workers=0), stop=60)
    found: list[Batch] = []
    for number, batch in enumerate(build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=0, stop=60)):
        found.append(batch)
        if number in (5, 30):
            for process in multiprocessing.active_children():
                process.kill()
    assert batch_bytes(found) == expected


@pytest.mark.process
def test_a_picture_that_two_readers_die_of_is_left_out_and_named(
    config: TrainConfig, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    victim = Path(config.a or "") / "004.png"
    whole = victim.read_bytes()
    victim.write_bytes(b"dear diary")
    expected = load_batches(replace(config, workers=0), stop=40)
    victim.write_bytes(whole)
    reading(lambda path: die(path) if path == victim else None)
    with caplog.at_level(logging.WARNING, "cyclegan"):
        found = load_batches(replace(config, workers=1), stop=40)
    assert batch_bytes(found) == batch_bytes(expected)
    noted = [batch["unreadable"] for batch in found]
    assert [[path for path, _ in notes] for notes in noted] == [[p for p, _ in b["unreadable"]] for b in expected]
    assert {reason for notes in noted for _, reason in notes} == {
        "2 readers were lost at it; the last one was killed by SIGKILL"
    }
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith(f"{victim}, like one before; that picture is left out from now on")


@pytest.mark.process
def test_readers_that_die_of_everything_are_given_up_with_the_file_and_the_way_out(
    config: TrainConfig, reading: Reading
) -> None:
    reading(die)
    with pytest.raises(CycleganError) as caught:
        load_batches(config)
    sentence = str(caught.value)
    assert sentence.startswith("4 readers of pictures were lost with no batch in between; the last one was killed by")
    assert " at /" in sentence
    assert "Mend or remove that picture" in sentence
    assert "--workers" in sentence
    assert "\n" not in sentence


@pytest.mark.process
def test_what_a_reader_hangs_at_is_said_and_then_it_is_replaced(
    config: TrainConfig,
    reading: Reading,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(readers, "WARN_S", 0.1)
    expected = load_bytes(replace(config, workers=0))
    reading(first_time(tmp_path, "004.png", hang))
    with caplog.at_level(logging.WARNING, "cyclegan"):
        assert load_bytes(config, timeout=2) == expected
    # Of other pictures it may be said as well, where the machine is busy: what counts is what is said of this one
    hung = [said for said in caplog.messages if "004.png" in said]
    replaced = next(number for number, said in enumerate(hung) if said.startswith("a reader of pictures"))
    waiting, last = hung[:replaced], hung[replaced]
    assert len(waiting) >= 2  # after 0.1, 0.3, 0.7 and 1.5 s
    form = r"waiting for pictures for \d s; the reader has been at /.*/004.png for \d s; after 2 s (.*) it is replaced"
    assert all(re.fullmatch(form, said) for said in waiting)
    assert "made no progress for 2 s (--worker-timeout) at /" in last


@pytest.mark.process
def test_a_reader_that_hangs_before_its_first_picture_is_replaced(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = load_bytes(replace(config, workers=0))
    prepare = readers._prepare

    def stuck() -> None:
        if not (tmp_path / "came").exists():
            (tmp_path / "came").touch()
            time.sleep(1000)
        prepare()

    monkeypatch.setattr(readers, "_prepare", stuck)
    assert load_bytes(replace(config, workers=1), timeout=2) == expected


@pytest.mark.process
def test_a_reader_that_is_stopped_is_replaced(config: TrainConfig) -> None:
    expected = load_bytes(replace(config, workers=0), stop=60)
    loader = build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=0, stop=60)
    loader.timeout = 0.3
    found: list[Batch] = []
    for number, batch in enumerate(loader):
        found.append(batch)
        if number == 5:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGSTOP)
    assert batch_bytes(found) == expected


@pytest.mark.process
def test_without_a_limit_a_slow_picture_is_waited_for(
    config: TrainConfig, reading: Reading, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_bytes(replace(config, workers=0))
    reading(first_time(tmp_path, "004.png", lambda path: time.sleep(0.7)))
    assert load_bytes(config, timeout=0) == expected
    assert not caplog.messages


@pytest.mark.process
def test_the_time_that_many_pictures_take_is_not_the_time_of_one(config: TrainConfig, reading: Reading) -> None:
    reading(lambda path: time.sleep(0.06))  # a request of one step and 26 pictures: 1.6 s
    found = load_batches(replace(config, batch_size=13, workers=1), stop=1, timeout=1.0)
    assert len(found) == 1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("a bug"), "could not be made part of a batch (ZeroDivisionError: a bug); mend or remove it"),
        (MemoryError(), "memory ran out while it was read; lower --workers"),
        (UsageError("--augment: fails"), "--augment: fails (the picture is"),
    ],
    ids=["bug", "memory", "augment"],
)
def test_whatever_a_picture_raises_is_one_sentence_with_its_file(
    workers: int, error: Exception, words: str, config: TrainConfig, reading: Reading
) -> None:
    victim = Path(config.a or "") / "004.png"

    def fault(path: Path) -> None:
        if path == victim:
            raise error

    reading(fault)
    with pytest.raises(CycleganError) as caught:
        load_batches(replace(config, workers=workers))
    assert words in str(caught.value)
    assert str(victim) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) == isinstance(error, UsageError)


@pytest.mark.process
def test_a_bug_keeps_its_traceback_on_the_way_out_of_a_reader(config: TrainConfig, reading: Reading) -> None:
    def fault(path: Path) -> None:
        raise ZeroDivisionError

    reading(fault)
    with pytest.raises(CycleganError) as caught:
        load_batches(replace(config, workers=1))
    assert "in fault" in "".join(caught.value.__notes__)


@pytest.mark.process
def test_an_assertion_of_ours_is_no_fault_of_the_picture(config: TrainConfig, reading: Reading) -> None:
    def fault(path: Path) -> None:
        raise AssertionError("our mistake")

    reading(fault)
    with pytest.raises(RuntimeError, match=r"(?s)in a reader of pictures:.*our mistake"):
        load_batches(replace(config, workers=1))


@pytest.mark.process
def test_without_memory_to_share_a_dead_reader_is_replaced_all_the_same(
    config: TrainConfig, reading: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError

    expected = load_bytes(replace(config, workers=0))
    monkeypatch.setattr(readers, "SharedFile", refused)
    monkeypatch.setattr(dataset, "SharedBuffers", refused)
    reading(first_time(tmp_path, "004.png", die))
    assert load_bytes(config) == expected


def test_a_desk_tells_what_each_reader_is_at_and_since_when() -> None:
    desk = ProgressBoard(2)
    assert desk.get(0) is None
    before = time.monotonic()
    desk.put(1, 7)
    found = desk.get(1)
    assert found is not None
    assert found[0] == 7
    assert before <= found[1] <= time.monotonic()
    assert desk.get(0) is None
    desk.put(1, None)
    assert desk.get(1) is None


@pytest.mark.process
def test_readers_end_with_a_training_process_that_is_killed(config: TrainConfig) -> None:
    ours, theirs = multiprocessing.Pipe()

    def trainer() -> None:
        stream = iter(build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=0, stop=1000))
        next(stream)
        theirs.send([process.pid for process in multiprocessing.active_children()])
        time.sleep(1000)

    process = multiprocessing.get_context("fork").Process(target=trainer)
    process.start()
    assert ours.poll(60)
    pids = ours.recv()
    process.kill()
    process.join()
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, pids
        time.sleep(0.02)
    assert len(pids) == 2


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.process
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "minus inf"])
def test_a_picture_with_a_number_that_is_not_finite_is_counted_and_never_learnt_from(
    bad: float, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(6):
            picture = np.random.default_rng(number).random((24, 24, 3), np.float32)
            if (name, number) == ("a", 2):
                picture[23, 0, 1] = bad
            np.save(tmp_path / name / f"{number}.npy", picture)
    config = TrainConfig(
        a=str(tmp_path / "a"), b=str(tmp_path / "b"), load_size=20, crop_size=16, workers=0, holdout=0, batch_size=6
    )
    found = load_batches(config, stop=3)
    victim = str(tmp_path / "a" / "2.npy")
    for batch in found:
        assert batch["unreadable"] == [(victim, "1 of its 1728 numbers are not finite (NaN or Inf)")]
        assert all(batch[name].isfinite().all() for name in "ab")
    (tmp_path / "a" / "2.npy").write_bytes((tmp_path / "a" / "3.npy").read_bytes())
    expected = load_batches(config, stop=3)
    assert batch_bytes(found) == batch_bytes(expected)


@pytest.mark.process
def test_a_reader_is_started_before_a_signal_is_heard(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(BaseException):
        """What the handler of a trainer raises."""

    def ask(number: int, frame: FrameType | None) -> None:
        raise Asked

    def disturbed(self: ForkProcess) -> None:
        signal.raise_signal(signal.SIGUSR1)
        start(self)
        started.append(self)

    start = ForkProcess.start
    started: list[ForkProcess] = []
    monkeypatch.setattr(ForkProcess, "start", disturbed)
    before = signal.signal(signal.SIGUSR1, ask)
    try:
        with pytest.raises(Asked):
            load_batches(config)
    finally:
        signal.signal(signal.SIGUSR1, before)
    (process,) = started
    process.join(30)  # nobody has the other end of its pipe, so it ends
    assert process.exitcode == 0
