"""Several processes train as one does: the same pictures, draws, losses and weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.examples import data_set
from tests.support.run_files import read_metrics
from tests.support.states import newest_state
from tests.training.conftest import TINY

ROOT = Path(__file__).parents[3]
SECONDS = 240

# Every batch is larger than either folder (5 and 4 pictures), which are not of one size. The pools are full after two
# steps, so that old fakes come back.
PLAYED: dict[str, dict[str, Any]] = {
    "plain": {"batch_size": 8, "options": {"pool_size": 8}},
    "in-parts": {"batch_size": 8, "accumulate": 2, "clip_gradient": 1.0, "options": {"pool_size": 12}},
    "penalised": {
        "batch_size": 4,
        "options": {"pool_size": 3, "adversarial": "wgan-gp", "diffaug": "color,translation,cutout"},
    },
    "flat": {"batch_size": 4, "spectral_norm": True, "options": {"adversarial": "bce", "r1": 1.0, "pool_size": 0}},
    "batch-norm": {"batch_size": 8, "norm": "batch", "options": {"adversarial": "hinge", "pool_size": 4}},
    "resumed between two rows": {"batch_size": 4, "steps": 4, "log_every": 4, "state_every": 3, "back": 3},
    "looked at": {"batch_size": 4, "steps": 2, "evaluate_every": 2, "sample_every": 2, "samples": 3, "probe_every": 2},
    "scaled": {"batch_size": 4, "lr_scale": "linear", "options": {"lambda_identity": 0.0, "reconstruction": "l2"}},
}


# Which have something that the others do not; the rest are simpler, or other losses
QUICK = ("in-parts", "penalised", "batch-norm", "resumed between two rows", "looked at")
CASES = [
    pytest.param(world, name, marks=() if world == 2 and name in QUICK else pytest.mark.long)
    for world in (2, 4)
    for name in PLAYED
]

FIGURES = {"loss", "scores", "gradient_norm", "learning_rate", "health", "evaluation", "probe"}


def launch(world: int, *words: object, timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """`python -m words…` in so many processes, by torchrun; in one without it."""
    command = [sys.executable, "-m"]
    if world > 1:
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(world), "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *map(str, words)], env=environment, timeout=timeout, capture_output=True, text=True, check=False
    )


def tensors(value: Any, where: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested containers, by their path."""
    if isinstance(value, torch.Tensor):
        yield where, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in inner:
        yield from tensors(part, f"{where}/{name}")


def assert_close(one: Path, other: Path, tolerance: float = 1e-6) -> None:
    """Two runs came to the same: weights, moments, averages, pools, and the losses of every step."""
    kept = ("method", "ema", "generator_optimizer", "discriminator_optimizer", "guard")
    ours, theirs = ({name: newest_state(run)[name] for name in kept} for run in (one, other))
    expected = dict(tensors(theirs))
    found = dict(tensors(ours))
    assert found.keys() == expected.keys()
    assert any(name.startswith("/ema/") for name in found)
    for name, value in found.items():
        assert torch.allclose(value, expected[name], rtol=tolerance, atol=tolerance), name
    parts = newest_state(one)["config"]["accumulate"]
    for mine, yours in zip(read_metrics(one), read_metrics(other), strict=True):
        for name in mine:
            if name.startswith("scores/") and parts > 1:  # of the last part, which is another part of the batch
                continue
            if name.split("/")[0] in FIGURES:
                if mine[name] is None or yours[name] is None:  # no number, as of three pictures alone
                    assert mine[name] is yours[name], (name, mine["step"])
                    continue
                assert mine[name] == pytest.approx(yours[name], rel=tolerance, abs=tolerance), (name, mine["step"])


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """5 pictures of A and 4 of B; and 10 and 3 of each, to be evaluated with."""
    place = tmp_path_factory.mktemp("folders")
    data_set(place / "evaluated", train=10, test=3, side=40)
    generator = torch.Generator().manual_seed(0)
    for domain, count in (("a", 5), ("b", 4)):
        (place / domain).mkdir()
        for number in range(count):
            pixels = torch.randint(0, 256, (40, 40, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(place / domain / f"{number}.png")
    return {"a": str(place / "a"), "b": str(place / "b"), "data": str(place / "evaluated")}


def where(changes: Mapping[str, Any], folders: Mapping[str, str]) -> dict[str, str]:
    """The folders of a run."""
    return {name: path for name, path in folders.items() if (name == "data") == ("evaluate_every" in changes)}


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, str]) -> Callable[[int, str], Path]:
    """`played(world, name)` is that run of `PLAYED`, by so many processes. The quick ones go together, as the rest."""
    known: dict[tuple[int, bool], Path] = {}

    def play(world: int, name: str) -> Path:
        group = (world, name in QUICK)
        if group not in known:
            place = tmp_path_factory.mktemp(f"world-{world}")
            together = {other: changes for other, changes in PLAYED.items() if (other in QUICK) == group[1]}
            values = {
                other: TINY | {"steps": 3} | changes | where(changes, folders) for other, changes in together.items()
            }
            (place / "plan.json").write_text(json.dumps(values))
            done = launch(world, "tests.training.rank", place / "plan.json")
            assert done.returncode == 0, done.stderr
            known[group] = place
        return known[group] / name

    return play


@pytest.mark.slow
@pytest.mark.parametrize(("world", "name"), CASES)
def test_several_processes_come_to_what_one_comes_to(played: Callable[[int, str], Path], world: int, name: str) -> None:
    run = played(world, name)
    alone = played(1, name)
    assert_close(run, alone, 1e-3 if name == "looked at" else 1e-6)
    if name == "looked at":
        assert any("probe/checkerboard_ab" in row for row in read_metrics(run))
        grids = [sorted((place / "samples").glob("*.png")) for place in (run, alone)]
        assert [grid.name for grid in grids[0]] == [
            f"{way}-{step:08d}.png" for way in ("a2b", "b2a") for step in (0, 2)
        ]
        for mine, yours in zip(*grids, strict=True):
            assert np.abs(np.asarray(Image.open(mine), int) - np.asarray(Image.open(yours), int)).max() <= 1, mine.name
        assert (run / "best.json").exists()
        assert (run / "gallery/gallery.json").exists()
    weights = {(run / f"weights-{rank}").read_text() for rank in range(world)}
    assert len(weights) == 1, "to the last bit the processes have the same"
