"""Runs with evaluations that were stopped, killed, out of patience, or begun without them."""

from __future__ import annotations

import json
import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.errors import CycleganError
from cyclegan.models import load_model
from cyclegan.system.files import file_sha256
from cyclegan.training import train
from cyclegan.training.evaluation import best_model, periodic
from cyclegan.training.evaluation.periodic import PeriodicEvaluation
from cyclegan.training.storage.async_saver import AsyncSaver
from tests.support.run_files import read_metrics, read_status
from tests.support.states import assert_same, newest_state
from tests.support.stops import stop_at
from tests.training.evaluated import Make, best, looked, planted

pytestmark = pytest.mark.slow


def test_a_run_that_was_stopped_and_went_on_has_the_same_best(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(steps=6, patience=9)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(CycleganError, match="at step 3 of 6"):
            train(config, tmp_path / "halves")
    assert len(looked(tmp_path / "halves")) == 1
    halves = train(config, tmp_path / "halves")
    assert_as_if_undisturbed(whole, halves)


def assert_as_if_undisturbed(whole: Path, halves: Path) -> None:
    assert_same(newest_state(whole), newest_state(halves))
    assert (whole / "best.json").read_bytes() == (halves / "best.json").read_bytes()
    for entry in best(whole).values():
        assert file_sha256(whole / entry["file"]) == file_sha256(halves / entry["file"])
    assert looked(whole) == looked(halves)


class _Killed(BaseException):
    """What no part of a run may catch."""


def killed_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Let the process end when `name` is called that often."""
    calls = []
    original = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            raise _Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (AsyncSaver, "save", 2),  # after the look at step 4
        (best_model, "write_best", 2),  # when its generators have been written, and the record has not
        (periodic, "write_gallery", 1),
    ],
)
def test_killed_after_a_look_it_is_looked_at_once_more_with_the_same_result(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    config = small(steps=4, state_every=2)
    planted(monkeypatch, {2: 3.0, 4: 1.0})
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        killed_at(patch, owner, name, call)
        with pytest.raises(_Killed):
            train(config, tmp_path / "halves")
    if name == "write_best":  # the file is better than what is said of it
        assert (best(tmp_path / "halves")["kid"]["value"], best(tmp_path / "halves")["kid"]["step"]) == (3.0, 2)
        assert load_model(tmp_path / "halves" / "checkpoints" / "best-kid.safetensors").info["step"] == 4
    halves = train(config, tmp_path / "halves")
    assert_as_if_undisturbed(whole, halves)
    assert best(halves)["kid"]["step"] == 4
    assert looked(halves) == {2: 3.0, 4: 1.0}
    assert json.loads((halves / "gallery" / "gallery.json").read_text())["step"] == 4


def test_patience_ends_a_run_well_and_says_how_to_go_on(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted(monkeypatch, {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.0, 10: 0.0, 12: -1.5})
    config = small(steps=12, patience=2, state_every=100, log_every=5, sample_every=3)
    with caplog.at_level(logging.INFO, "cyclegan"):
        run = train(config, tmp_path / "run")
    why = "kid has not become better since step 4 (1), in 2 evaluations; --patience 0, or more than 2, goes on"
    assert f"ended at step 8 of 12: {why}" in caplog.text
    assert read_status(run) | {"time": 0} == {"status": "done", "step": 8, "steps": 12, "reason": why, "time": 0}
    assert newest_state(run)["step"] == load_model(run).info["step"] == 8
    assert best(run)["kid"]["step"] == 4
    assert json.loads((run / "gallery" / "gallery.json").read_text())["step"] == 8
    assert (run / "samples" / "a2b-00000008.png").exists()
    assert [row["step"] for row in read_metrics(run) if "loss/cycle_a" in row] == [5, 8]

    caplog.clear()
    gallery = (run / "gallery" / "gallery.json").stat().st_mtime_ns
    lines = (run / "metrics.jsonl").read_bytes()
    with caplog.at_level(logging.INFO, "cyclegan"):
        train(config, run)  # it neither trains on nor ends without a word
    assert f"ended at step 8 of 12: {why}" in caplog.text
    assert read_status(run)["step"] == 8
    assert (run / "metrics.jsonl").read_bytes() == lines
    assert (run / "gallery" / "gallery.json").stat().st_mtime_ns == gallery

    on = train(replace(config, patience=3), run)
    assert (read_status(on)["step"], read_status(on)["reason"]) == (12, "")
    assert best(on)["kid"]["step"] == 12


def test_a_run_at_its_last_step_needs_no_reason(tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, {2: 1.0, 4: 2.0, 6: 3.0})
    run = train(small(steps=6, patience=2), tmp_path / "run")
    assert (read_status(run)["step"], read_status(run)["reason"]) == (6, "")


def test_a_run_that_began_without_evaluations_can_go_on_with_them(tmp_path: Path, small: Make) -> None:
    config = small(steps=3, evaluate_every=0)
    run = train(config, tmp_path / "run")
    state = next((run / "checkpoints").glob("state-*.pt"))
    content = torch.load(state, weights_only=True)
    del content["evaluation"]  # as versions before this one wrote it
    torch.save(content, state)
    state.with_name(f"{state.name}.sha256").write_text(f"{file_sha256(state)}  {state.name}\n")
    run = train(replace(config, steps=5, evaluate_every=2), run)
    assert list(looked(run)) == [4, 5]
    run = train(replace(config, steps=6, evaluate_every=0), run)  # and on without
    assert (read_status(run)["step"], list(looked(run))) == (6, [4, 5])
    assert best(run)["kid"]["step"] in (4, 5)


@pytest.mark.parametrize("when", [4, 5])  # in mid-run, and at the end
def test_asked_to_stop_a_look_is_cut_off_and_made_up_for(
    tmp_path: Path, small: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: int
) -> None:
    config = small(steps=5)
    whole = train(config, tmp_path / "whole")
    requests: list[Any] = []
    translate = periodic.Translator.unit
    look = PeriodicEvaluation.evaluate

    def noted(self: PeriodicEvaluation, step: int, generators: Any, info: Any, tracker: Any, stop: Any) -> float:
        if step == when:
            requests.append(stop)
        return look(self, step, generators, info, tracker, stop)

    def asked(self: Any, *arguments: Any) -> Any:
        if requests:
            requests[0].signal = signal.SIGTERM  # while the first batch is translated
        return translate(self, *arguments)

    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "cyclegan"):
        patch.setattr(PeriodicEvaluation, "evaluate", noted)
        patch.setattr(periodic.Translator, "unit", asked)
        with pytest.raises(CycleganError, match="stopped by SIGTERM"):
            train(config, tmp_path / "halves")
    assert f"the evaluation of step {when} is left for when the run goes on" in caplog.text
    assert read_status(tmp_path / "halves")["status"] == "preempted"
    assert newest_state(tmp_path / "halves")["step"] == when
    assert list(looked(tmp_path / "halves")) == [2, 4][: when - 3]
    halves = train(config, tmp_path / "halves")
    assert_as_if_undisturbed(whole, halves)


def test_a_damaged_record_of_the_best_is_a_sentence_before_training(tmp_path: Path, small: Make) -> None:
    config = small(steps=2)
    run = train(config, tmp_path / "run")
    (run / "best.json").write_text("{")
    with pytest.raises(CycleganError, match=r"best\.json is damaged"):
        train(config, run)
