"""Work in threads: bounded by number and by bytes, handed out oldest first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from cyclegan.translation.batching import BYTES, Backlog
from cyclegan.translation.jobs import Job


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no thread outlives a test that failed."""
    event = threading.Event()
    yield event
    event.set()


def _job(number: int) -> Job:
    return Job(str(number), "in", "out")


def _fill(backlog: Backlog[int], gate: threading.Event, result: int = 0, weight: int = 0, limit: int = 50) -> int:
    """How many tasks are added before it is full, each of which waits for the gate."""
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
