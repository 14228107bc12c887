"""Attempts that are given up: what becomes of them, and of the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.errors import CycleganError
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.networks.layers import Generator
from cyclegan.training import setup, train
from cyclegan.training.alarms import probe as probing
from cyclegan.training.storage import attempts
from cyclegan.training.storage.attempts import given_up
from tests.support.run_files import read_metrics, read_status
from tests.support.states import assert_same, newest_state


def values(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def inverting(tiny, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`inverting(seeds, …)`: a config to be begun anew; with these seeds the generators invert, else they mirror."""
    monkeypatch.setattr(probing, "EVERY", 1)
    build = setup.build_method

    def make(seeds: set[int], **changes: object) -> TrainConfig:
        sign = [1.0]

        def noted(config: TrainConfig, channels: dict[str, int]) -> Any:
            sign[0] = -0.9 if config.seed in seeds else 0.9
            return build(config, channels)

        def forward(self: Generator, x: Tensor) -> Tensor:
            return sign[0] * (x if sign[0] < 0 else x.flip(-1)) + 0 * next(self.parameters()).sum()

        monkeypatch.setattr(setup, "build_method", noted)
        monkeypatch.setattr(Generator, "forward", forward)
        return tiny(**{"steps": 10, "on_alarm": "restart", "state_every": 1, "sample_every": 1} | changes)

    return make


@pytest.mark.slow
def test_an_early_failure_is_begun_anew_with_the_next_seed(tmp_path, inverting, caplog):
    run = train(inverting({0}), tmp_path / "run")
    (attempt,) = given_up(run)
    assert (attempt["alarm"], attempt["step"], attempt["seed"], attempt["next_seed"]) == ("colours-inverted", 2, 0, 1)
    assert " turns light into dark: input and output correlate by -1.00" in attempt["text"]
    assert (
        f"beginning anew with --seed 1, 1 of 2 times; what was given up is in {run / 'attempts' / '1'}" in caplog.text
    )

    kept = tree(run / "attempts" / "1")
    assert {"config.yaml", "pictures.json", "meta.json", "status.json", "metrics.jsonl", "restart.json"} <= kept
    assert {"samples/a2b-00000001.png", "checkpoints/generators-00000001.safetensors"} <= kept
    assert not [name for name in kept if "state-" in name]
    assert values(run / "attempts" / "1" / "config.yaml")["seed"] == 0

    assert values(run / "config.yaml")["seed"] == 1
    assert newest_state(run)["config"]["seed"] == 1
    # A record of its own
    assert [row["step"] for row in read_metrics(run) if "loss/cycle_a" in row] == list(range(1, 11))
    ids = [json.loads((folder / "meta.json").read_text())["tracking_id"] for folder in (run, run / "attempts" / "1")]
    assert len(set(ids)) == 2
    assert not any("alarm/" in name for row in read_metrics(run) for name in row)
    assert read_status(run)["status"] == "done"


@pytest.mark.slow
def test_it_is_begun_anew_twice_and_then_goes_on_with_a_warning(tmp_path, inverting, caplog):
    run = train(inverting({0, 1, 2}), tmp_path / "run")
    assert [attempt["seed"] for attempt in given_up(run)] == [0, 1]
    assert values(run / "config.yaml")["seed"] == 2
    assert "the run goes on, since 2 attempts were given up already" in caplog.text
    assert read_status(run)["status"] == "done"
    assert [row["step"] for row in read_metrics(run) if "alarm/colours-inverted" in row] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "restarts"), [(10, 1), (9, 0)])
def test_only_the_first_fifth_is_worth_beginning_anew(tmp_path, inverting, caplog, steps, restarts):
    run = train(inverting({0}, steps=steps), tmp_path / "run")
    assert len(given_up(run)) == restarts
    assert ("the run goes on, since step 2 is after the first fifth" in caplog.text) == (not restarts)


def test_what_another_seed_cannot_change_is_a_warning(tmp_path, tiny, caplog):
    config = tiny(steps=1, on_alarm="restart")
    (Path(config.b) / "copy.png").write_bytes((Path(config.a) / "000.png").read_bytes())
    assert given_up(train(config, tmp_path / "run")) == []
    assert "the run goes on, since another seed would not change this" in caplog.text


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_begun_anew_and_end_the_third_time(tmp_path, tiny, monkeypatch):
    losses = CycleGAN._generator_losses
    monkeypatch.setattr(
        CycleGAN,
        "_generator_losses",
        lambda self, *turn: {name: loss * float("nan") for name, loss in losses(self, *turn).items()},
    )
    config = tiny(steps=60, on_alarm="restart", log_every=12)
    with pytest.raises(CycleganError, match="12 steps in a row had a loss or gradient that is not finite"):
        train(config, tmp_path / "run")
    assert [attempt["alarm"] for attempt in given_up(tmp_path / "run")] == ["not-finite", "not-finite"]


@pytest.mark.slow
def test_the_same_command_and_resume_both_go_on_with_the_attempt_there_is(tmp_path, inverting, caplog):
    config = inverting({0})
    run = train(config, tmp_path / "run")
    caplog.clear()
    with caplog.at_level("INFO", "cyclegan"):
        train(replace(config, steps=12), run)  # asks for seed 0 again
        train(replace(config, steps=14, seed=1), run)  # as --resume does, from config.yaml
    assert "taking over --seed" not in caplog.text
    assert caplog.text.count("resuming") == 2
    assert newest_state(run)["step"] == 14
    assert len(given_up(run)) == 1


class Killed(BaseException):
    pass


CHANGES = ("atomic_write", "write_json", "_rename", "_delete")  # all that `aside` does to the disk


def killing(patch: pytest.MonkeyPatch, moment: int) -> None:
    """Cut the moving off before its 1st, 2nd, … change of the disk."""
    done = [0]

    def cutting(change: Any) -> Any:
        def maybe(*arguments: Any) -> Any:
            done[0] += 1
            if done[0] == moment:
                raise Killed
            return change(*arguments)

        return maybe

    for name in CHANGES:
        patch.setattr(attempts, name, cutting(getattr(attempts, name)))


def folder_of_a_run(run: Path) -> Path:
    """Files as a trainer leaves them."""
    names = ["pictures.json", "meta.json", "status.json", "metrics.jsonl", "samples/a2b-00000001.png", "wandb/session"]
    names += [
        "checkpoints/state-00000001.pt",
        "checkpoints/state-00000001.pt.sha256",
        "checkpoints/best-kid.safetensors",
    ]
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    (run / "config.yaml").write_text("seed: 4\nsteps: 10\n")
    (run / ".lock").touch()
    return run


def test_killed_at_any_moment_of_the_moving_the_next_start_finishes_it(tmp_path, monkeypatch):
    event = {"alarm": "colours-inverted", "step": 2, "text": "…"}
    whole = folder_of_a_run(tmp_path / "whole")
    attempts.set_aside(whole, **event)
    moment = 0
    while True:
        moment += 1
        run = folder_of_a_run(tmp_path / str(moment))
        with monkeypatch.context() as patch:
            killing(patch, moment)
            try:
                attempts.set_aside(run, **event)
            except Killed:
                pass
            else:
                break
        assert {"config.yaml", "pictures.json"} <= tree(run)  # --resume knows it for a run at every moment
        if given_up(run):
            attempts.finish_moving(run)
        else:
            attempts.set_aside(run, **event)  # nothing has happened yet: the alarm comes again
        assert tree(run) == tree(whole)
        assert values(run / "config.yaml") == {"seed": 5, "steps": 10}
        assert values(run / "attempts/1/config.yaml") == {"seed": 4, "steps": 10}
        assert [attempt["moved"] for attempt in given_up(run)] == [True]
    assert moment > 12
    assert tree(whole) == {"config.yaml", "pictures.json", ".lock"} | {
        f"attempts/1/{name}"
        for name in (
            *("config.yaml", "pictures.json", "meta.json", "status.json", "metrics.jsonl", "samples/a2b-00000001.png"),
            *("wandb/session", "checkpoints/best-kid.safetensors", "restart.json"),
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 8])
def test_killed_while_an_attempt_is_moved_training_begins_cleanly(tmp_path, inverting, monkeypatch, moment):
    config = inverting({0}, sample_every=0)
    with monkeypatch.context() as patch:
        killing(patch, moment)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    run = train(config, tmp_path / "run")
    assert [attempt["moved"] for attempt in given_up(run)] == [True]
    plain = train(replace(config, seed=1), tmp_path / "plain")
    assert_same(newest_state(plain), newest_state(run))


@pytest.mark.slow
def test_a_damaged_record_of_an_attempt_is_a_sentence(tmp_path, inverting):
    config = inverting({0})
    run = train(config, tmp_path / "run")
    (run / "attempts" / "1" / "restart.json").write_text("{")
    with pytest.raises(CycleganError, match=r"restart\.json is damaged; restore it from a copy"):
        train(config, run)


def test_a_disk_that_does_not_allow_the_move_is_a_sentence(tmp_path, inverting, monkeypatch):
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(attempts, "write_json", full)
        with pytest.raises(CycleganError, match=r"could not be moved aside \(No space left on device\); make room"):
            train(inverting({0}), tmp_path / "run")
