"""A test that starts a process says so, since `scripts/test --quick` leaves it out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.conftest import NOT_QUICK, started, without_processes


def _multiprocessing(context: str) -> None:
    process = multiprocessing.get_context(context).Process(target=os.getpid)
    process.start()
    process.join()


@pytest.mark.process
def test_every_way_to_start_a_process_is_noted() -> None:
    ways = {
        "subprocess": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "system": lambda: os.system("true"),
        "fork": lambda: _multiprocessing("fork"),
        "spawn": lambda: _multiprocessing("spawn"),
    }
    for name, start in ways.items():
        before = len(started)
        start()
        assert len(started) > before, name


def test_the_git_that_a_run_asks_for_its_commit_is_not() -> None:
    before = list(started)
    subprocess.run(["git", "--version"], check=False, capture_output=True)
    assert started == before


@pytest.mark.parametrize("mark", [None, *NOT_QUICK])
def test_only_a_test_with_a_mark_may_start_one(mark: str | None) -> None:
    watched = without_processes(SimpleNamespace(get_closest_marker=lambda name: name == mark))  # type: ignore[arg-type]
    next(watched)
    started.append("a process")
    try:
        if mark:
            assert list(watched) == []
        else:
            with pytest.raises(pytest.fail.Exception, match=r"started \['a process'\]: mark it as `process`"):
                next(watched)
    finally:
        started.remove("a process")


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_by_workers_is_marked_by_its_parameter(workers: int, request: pytest.FixtureRequest) -> None:
    assert (request.node.get_closest_marker("process") is not None) == bool(workers)
