"""A disk that is full, taken away or closed in the middle of a run: what matters stops it, what does not is said."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cyclegan.errors import CycleganError
from cyclegan.system import files
from cyclegan.tracking.journal import Journal
from cyclegan.training import train
from cyclegan.training.storage.checkpoint import States
from tests.cli.test_bad_places import _permissions
from tests.support.run_files import read_status
from tests.support.states import assert_same, newest_state
from tests.support.stops import at_step


def full_for(monkeypatch: pytest.MonkeyPatch, pattern: str, number: int = errno.ENOSPC) -> list[str]:
    """A disk that has no room for files whose names match `pattern`; returns the list of those that failed."""
    real, failed = os.replace, []

    def replace(old: Any, new: Any) -> None:
        if re.fullmatch(pattern, os.path.basename(new)):
            failed.append(os.path.basename(new))
            raise OSError(number, os.strerror(number), os.fspath(new))
        real(old, new)

    monkeypatch.setattr(files.os, "replace", replace)
    return failed


def strays(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.name.startswith(files.TEMPORARY_PREFIX)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "number"),
    [(r"state-.*\.pt", errno.ENOSPC), (r"state-.*\.sha256", errno.EDQUOT), (r"generators-.*", errno.ENOSPC)],
)
def test_no_room_for_what_is_saved_stops_the_run_with_the_old_state_intact(
    tmp_path, tiny, monkeypatch, pattern, number
):
    run = train(tiny(steps=1), tmp_path / "run")
    before = newest_state(run)
    with monkeypatch.context() as patch:
        full_for(patch, pattern, number)
        with pytest.raises(CycleganError, match=r"could not be written .* intact: make room and run") as caught:
            train(tiny(steps=3, state_every=1, decay_steps=0), run)
    assert caught.value.exit_code == 1
    assert read_status(run)["status"] == "failed"
    assert strays(run) == []
    assert_same(before, States(run / "checkpoints").load_newest() if "state" in pattern else before)
    train(tiny(steps=2, decay_steps=0), run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"[ab]2[ab]-.*\.png", "the sample grids could not be written (No space left on device); training goes on"),
        (r"best-.*", "the best generators could not be kept (No space left on device); training goes on"),
        (r"best\.json", "the best generators could not be kept"),
        (r"ab-.*\.png|gallery\.json", "the gallery of translations could not be written"),
    ],
)
def test_no_room_for_pictures_or_the_best_is_said_and_the_run_goes_on(
    tmp_path, small, monkeypatch, caplog, pattern, words
):
    failed = full_for(monkeypatch, pattern)
    run = train(small(steps=2, sample_every=1), tmp_path / "run")
    assert failed
    assert words in caplog.text
    assert read_status(run)["status"] == "done"
    assert States(run / "checkpoints").load_newest()["step"] == 2
    assert strays(run) == []


def test_no_room_for_figures_is_said_once_and_the_run_goes_on(tmp_path, tiny, monkeypatch, caplog):
    def full(self: Journal, step: int, values: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "append", full)
    run = train(tiny(steps=3), tmp_path / "run")
    assert caplog.text.count("training goes on, its figures are lost") == 1
    assert read_status(run)["status"] == "done"


def test_no_room_for_the_status_stops_the_run_after_the_state_is_safe(tmp_path, tiny, monkeypatch, caplog):
    at_step(monkeypatch, 1, lambda: full_for(monkeypatch, r"status\.json"))
    with pytest.raises(CycleganError, match=r"run could not be written to \(no space left on device\); make room"):
        train(tiny(steps=4, state_every=2), tmp_path / "run")
    assert States(tmp_path / "run/checkpoints").load_newest()["step"] in (2, 4)
    assert "how the run ended could not be recorded" in caplog.text


def test_a_run_that_is_removed_while_it_trains_ends_with_a_sentence_and_does_not_come_back(tmp_path, tiny, monkeypatch):
    at_step(monkeypatch, 1, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(CycleganError, match=r"checkpoints has been removed or renamed .* with another -o") as caught:
        train(tiny(steps=4, state_every=2, sample_every=1), tmp_path / "run")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_that_is_closed_while_it_trains_ends_with_a_sentence(tmp_path, tiny, monkeypatch):
    checkpoints = tmp_path / "run" / "checkpoints"
    with contextlib.ExitStack() as closed, monkeypatch.context() as patch:
        at_step(patch, 3, lambda: closed.enter_context(_permissions(checkpoints, 0o555)))
        with pytest.raises(CycleganError, match=r"Permission denied.* intact: make the folder writable again"):
            train(tiny(steps=6, state_every=2), tmp_path / "run")
    assert States(checkpoints).load_newest()["step"] == 2
    assert train(tiny(steps=3, decay_steps=0), tmp_path / "run")
