"""What an old program saved is still gone on with. The fixtures are made by `tests/training/states/make.py`."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cyclegan.config import resolve
from cyclegan.methods import options_of
from cyclegan.models import load_model
from cyclegan.training import train
from cyclegan.training.storage.checkpoint import read_state
from cyclegan.training.storage.run_directory import read_config
from tests.support.run_files import read_rows
from tests.training.states.make import MORE, STEPS, draw

STATES = Path(__file__).parents[1] / "states"


@pytest.fixture(params=["version-1"])
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A run that an old program left after `STEPS` steps, beside its pictures."""
    with tarfile.open(STATES / f"{request.param}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    draw(tmp_path)
    return tmp_path / request.param


def losses(path: Path) -> dict[int, dict[str, float]]:
    rows = read_rows(path)
    return {
        row["step"]: {name: value for name, value in row.items() if name.startswith(("loss/", "scores/"))}
        for row in rows
        if "loss/cycle_a" in row
    }


def test_an_old_run_goes_on_as_the_old_program_would_have(old, caplog):
    config = resolve(
        [read_config(old), {"a": str(old.parent / "a"), "b": str(old.parent / "b")}], options_of("cyclegan")
    )
    with caplog.at_level("INFO", "cyclegan"):
        train(replace(config, steps=MORE, decay_steps=0), old)
    assert f"resuming {old} at step {STEPS} of {MORE}" in caplog.text
    before, now = losses(old / "metrics-of-more.jsonl"), losses(old / "metrics.jsonl")
    assert sorted(now) == list(range(STEPS + 1, MORE + 1))
    for name, value in now[STEPS + 1].items():
        # What the state holds decides about the generators' next step; what the discriminators are shown also hangs on
        # the pool's draws, which a later program may make otherwise. Another processor adds up in another order.
        near = 1e-3 if "discriminator" not in name and "scores" not in name else 0.1
        assert value == pytest.approx(before[STEPS + 1][name], rel=near, abs=near), name
    assert read_state(old / f"checkpoints/state-{MORE:08d}.pt")["step"] == MORE


def test_the_pictures_of_an_old_pool_are_in_it_again(old):
    saved = read_state(old / f"checkpoints/state-{STEPS:08d}.pt")["method"]
    pools = [value["stored"] for value in saved.values() if isinstance(value, dict)]
    assert [tuple(stored.shape) for stored in pools] == [(2, 3, 32, 32)] * 2
    assert all(torch.isfinite(stored).all() for stored in pools)


def test_an_old_run_translates(old):
    model = load_model(old)
    assert (model.info["step"], sorted(model.generators)) == (STEPS, ["ab", "ba"])
    state = load_model(old / f"checkpoints/state-{STEPS:08d}.pt")
    picture = torch.zeros(1, 3, 32, 32)
    assert torch.equal(model.generators["ab"](picture), state.generators["ab"](picture))
