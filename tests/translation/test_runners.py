"""Pictures on their way: gathered by size, bounded in number, all stops at work at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan.images import Picture, read_picture
from cyclegan.translation import Translator, jobs, runners, translate_folder
from cyclegan.translation.batching import BYTES
from cyclegan.translation.jobs import Job
from cyclegan.translation.runners import Backlog
from tests.translation.examples import Plain, Small, files, fp32, picture


def test_two_batches_that_do_not_fit_beside_each_other_are_computed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, lock = threading.Barrier(2, timeout=20), threading.Lock()

    class Crowded(Plain):
        """As on a GPU with two streams: the first batch runs alone, the next two meet and fail."""

        calls = at_work = 0

        def forward(self, x: Tensor) -> Tensor:
            with lock:
                self.calls += 1
                call = self.calls
                self.at_work += 1
            try:
                if call in (2, 3):
                    together.wait()
                    if call == 3:  # it is late: what is tried again has to wait for it
                        time.sleep(0.2)
                    raise torch.OutOfMemoryError("CUDA out of memory")
                time.sleep(0.2 if call == 1 else 0.02)  # time enough for another to begin, if it may
                assert self.at_work == 1, f"{self.at_work} batches at once in call {call}"
            finally:
                with lock:
                    self.at_work -= 1
            return -x

    monkeypatch.setattr(runners, "_computer", lambda translator: runners.ThreadPoolExecutor(2))
    for number in range(12):
        picture(tmp_path / f"in/{number:02d}.png", seed=number)
    network = Crowded()
    summary = translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=1)
    assert (summary.translated, summary.failed) == (12, [])
    assert network.calls == 12 + 2


def test_pictures_of_equal_size_are_computed_together_wherever_they_stand(tmp_path: Path) -> None:
    for number in range(16):
        picture(tmp_path / f"in/{number:02d}.png", (4 + number % 2, 5), number)
    network = Small(10**6, MemoryError())
    translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=4)
    assert network.computed == [4, 4, 4, 4]
    assert len(files(tmp_path / "out")) == 16


def test_writing_does_not_keep_reading_from_going_on(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        picture(tmp_path / f"in/{number:02d}.png")
    last_read = threading.Event()

    def reading(path: str, **options: object) -> Picture:
        if path.endswith("24.png"):  # not one of the first 16, which are asked for before anything is written
            last_read.set()
        return read_picture(path)

    def writing(picture: Picture, suffix: str, **options: object) -> bytes:
        assert last_read.wait(20), "a writer waits for a reader that waits for a thread"
        return b""

    monkeypatch.setattr(runners, "processors", lambda: 2)
    monkeypatch.setattr(jobs, "read_picture", reading)
    monkeypatch.setattr(jobs, "encode_picture", writing)
    assert translate_folder(negative, tmp_path / "in", tmp_path / "out").translated == 30


@pytest.mark.parametrize("mixed", [False, True])
def test_only_so_many_pictures_are_in_memory(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    for number in range(120):
        picture(tmp_path / f"in/{number:03d}.png", (6, 1 + number) if mixed else (6, 4))
    lock, alive, most = threading.Lock(), 0, 0

    def count(change: int) -> None:
        nonlocal alive, most
        with lock:
            alive += change
            most = max(most, alive)

    def reading(path: str, **options: object) -> Picture:
        count(+1)
        return read_picture(path)

    def writing(picture: Picture, suffix: str, **options: object) -> bytes:
        count(-1)
        return b""

    monkeypatch.setattr(runners, "processors", lambda: 2)
    monkeypatch.setattr(jobs, "read_picture", reading)
    monkeypatch.setattr(jobs, "encode_picture", writing)
    translate_folder(negative, tmp_path / "in", tmp_path / "out", batch_size=3)
    assert alive == 0
    # 6 read ahead, 6 and the newest in buckets, 3 ready, two batches computing, 6 and a batch being written
    assert most <= 6 + (6 + 1) + 3 + 2 * 3 + (6 + 3)


def test_pictures_behind_many_that_fail_at_once_are_translated(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtOnce(ThreadPoolExecutor):
        """Reads faster than anyone can look: all that is asked for is done, and has failed, before the next look."""

        def submit(self, task: Callable[..., object], /, *arguments: object, **options: object) -> Future:
            future = super().submit(task, *arguments, **options)
            wait([future])
            return future

    monkeypatch.setattr(runners, "ThreadPoolExecutor", AtOnce)
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / f"in/{number:02d}.png").write_bytes(b"")
    picture(tmp_path / "in/last.png")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert (summary.translated, len(summary.failed)) == (1, 100)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no thread outlives a test that failed."""
    event = threading.Event()
    yield event
    event.set()


def _job(number: int) -> Job:
    return Job(str(number), "in", "out")


def _fill(backlog: Backlog[int], gate: threading.Event, result: int = 0, weight: int = 0, limit: int = 50) -> int:
    """The number of tasks added before it is full, each of which waits for the gate."""
    for count in range(limit):
        if backlog.full:
            return count
        backlog.add(_job(count), lambda: gate.wait(20) and result, weight=weight)
    return limit


def test_no_more_is_under_way_than_was_said(gate: threading.Event) -> None:
    backlog: Backlog[int] = Backlog(2, 7)
    assert _fill(backlog, gate, weight=1) == 7
    gate.set()
    wait(backlog.tasks)
    assert [job.name for job, _ in backlog.finished()] == [str(number) for number in range(7)]
    assert not backlog.full
    backlog.close()


@pytest.mark.parametrize(("weight", "count"), [(BYTES // 5, 6), (BYTES // 4, 4), (BYTES * 9, 2)])
def test_what_waits_is_bounded_by_its_bytes(gate: threading.Event, weight: int, count: int) -> None:
    backlog: Backlog[int] = Backlog(2, 20)
    assert _fill(backlog, gate, weight=weight) == count
    gate.set()
    wait(backlog.tasks)
    assert not backlog.full  # what is written holds nothing any more, whether or not it was asked for
    backlog.close()


def test_results_that_wait_count_and_what_is_to_come_is_taken_to_be_like_the_last(gate: threading.Event) -> None:
    backlog: Backlog[int] = Backlog(3, 20, size_of=lambda result: result)
    assert _fill(backlog, gate, result=BYTES // 8) == 3  # no size is known yet: one for each thread
    gate.set()
    wait(backlog.tasks)
    assert backlog.pop_first() == (_job(0), BYTES // 8)
    closed = threading.Event()
    assert _fill(backlog, closed) == 6  # and two are there already: eight eighths
    closed.set()
    backlog.close()


def test_the_first_is_handed_out_first_even_if_another_is_done_before(gate: threading.Event) -> None:
    backlog: Backlog[str] = Backlog(2, 5)
    backlog.add(_job(0), lambda: gate.wait(20) and "slow")
    backlog.add(_job(1), lambda: "quick")
    wait(list(backlog.tasks)[1:])
    assert backlog.pop_first() is None
    gate.set()
    wait(backlog.tasks)
    assert [backlog.pop_first(), backlog.pop_first(), backlog.pop_first()] == [
        (_job(0), "slow"),
        (_job(1), "quick"),
        None,
    ]
    backlog.close()


def test_what_a_task_raises_is_raised_to_who_asks_for_its_result() -> None:
    backlog: Backlog[int] = Backlog(1, 5, size_of=lambda result: result)
    backlog.add(_job(0), lambda: 1 // 0)
    wait(backlog.tasks)
    assert not backlog.full
    with pytest.raises(ZeroDivisionError):
        backlog.finished()
    backlog.close()
