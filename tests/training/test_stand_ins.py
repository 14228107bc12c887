"""Methods that the package does not know go through all of it: one folder with noise in, pairs, and one way only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.fake_wandb import Service
from tests.support.run_files import read_metrics
from tests.support.stand_ins import STAND_INS

ROOT = Path(__file__).parents[2]
DIRECTIONS = {"from-noise": "zb", "pairs": "ab", "one-way": "ab"}
COLUMNS = {"from-noise": "fake", "pairs": "real, fake, truth", "one-way": "real, fake"}
TINY = [
    "--channels",
    "2",
    "--load-size",
    "36",
    "--crop-size",
    "32",
    "--workers",
    "0",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--log-every",
    "1",
    "--sample-every",
    "3",
    "--state-every",
    "3",
    "--samples",
    "2",
    "--ema-decay",
    "0.9",
    "--evaluate-every",
    "0",
    "--decay-steps",
    "0",
    "--batch-size",
    "2",
]
PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=STAND_INS)
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def run(tmp_path: Path, folder: Callable[..., Path]) -> Run:
    """`run(words…)` is the program with the stand-ins, in a process of its own, where `a` and `b` are pictures."""
    for name in ("a", "b"):
        folder(name, 14, 40)

    def make(*words: str, launcher: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
        command = [sys.executable, *launcher, "-m", "tests.support.stand_ins", *words]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=240, check=False
        )

    return make


def train(run: Run, method: str, where: str, steps: int, *more: str, **rest: object) -> None:
    folders = ["--b", "b"] if method == "from-noise" else ["--a", "a", "--b", "b"]
    done = run("train", *folders, "--method", method, *TINY, "--steps", str(steps), "-o", where, *more, **rest)
    assert done.returncode == 0, done.stderr


def weights(path: Path, step: int) -> dict[str, torch.Tensor]:
    state = torch.load(path / f"checkpoints/state-{step:08d}.pt", weights_only=True)
    return {name: value for name, value in state["method"].items() if isinstance(value, torch.Tensor)}


def test_all_of_it_from_training_to_a_page(run: Run, method: str, tmp_path: Path) -> None:
    key = DIRECTIONS[method]
    grid = f"{key[0]}2{key[1]}"
    with Service() as service:
        home = tmp_path / "home"
        train(run, method, "run", 6, "--wandb", "online", **service.environment(home))
    assert service.runs, "nothing arrived at Weights & Biases"
    offline = ("--wandb", "disabled")
    # Stopped after three steps and gone on with, the run is that of one start, to the bit
    train(run, method, "halves", 3, *offline)
    train(run, method, "halves", 6, *offline)
    once, twice = weights(tmp_path / "run", 6), weights(tmp_path / "halves", 6)
    assert once.keys() == twice.keys()
    assert all(torch.equal(value, twice[name]) for name, value in once.items())

    journal = read_metrics(tmp_path / "run")
    assert {row[f"columns/samples/{grid}"] for row in journal if f"columns/samples/{grid}" in row} == {COLUMNS[method]}
    assert (tmp_path / f"run/samples/{grid}-00000006.png").is_file()
    assert any("scores/b/real" in row for row in journal)
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    assert (meta["method"], meta["directions"], meta["equilibrium"]) == (method, [key], 0.5)
    assert list(meta["domains"]) == list(STAND_INS[method].domains)

    features = ("--features", "resnet18", "--random-features")
    done = run("evaluate", "run", *features, "--size", "32", "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    figures = measured["metrics"]
    assert f"fid_{key}" in figures
    assert (f"psnr_{key}" in figures) is (method == "pairs")

    assert run("report", "run").returncode == 0
    page = (tmp_path / "run/report.html").read_text()
    assert method in page

    about = json.loads(run("info", "run", "--json").stdout)
    assert list(about["generators"]) == [key]
    assert about["info"]["domains"] == {name: name for name in STAND_INS[method].domains}
    assert ("noise to b" in run("info", "run").stdout) is (method == "from-noise")

    done = run("translate", "run", "a", "out")
    if method == "from-noise":
        assert done.returncode == 2
        assert "makes pictures from noise (direction zb) and translates none" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "out").glob("*.png"))) == 14


def test_two_processes_make_the_steps_of_one(run: Run, method: str, tmp_path: Path) -> None:
    offline = ("--wandb", "disabled")
    train(run, method, "one", 3, *offline)
    train(run, method, "two", 3, *offline, launcher=PROCESSES)
    one, two = weights(tmp_path / "one", 3), weights(tmp_path / "two", 3)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=2e-2, atol=2e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
    first, second = (read_metrics(tmp_path / name) for name in ("one", "two"))
    key = "loss/adversarial_b"
    values = [[row[key] for row in found if key in row] for found in (first, second)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_a_folder_that_the_method_does_not_read_is_refused(run: Run) -> None:
    done = run("train", "--a", "a", "--b", "b", "--method", "from-noise", *TINY, "--steps", "1")
    assert done.returncode == 2
    assert "--a" in done.stderr
    assert "from-noise" in done.stderr


def test_a_network_that_does_not_suit_the_method_is_refused(run: Run) -> None:
    done = run("train", "--b", "b", "--method", "from-noise", "--generator", "unet_128", *TINY, "--steps", "1")
    assert done.returncode == 2
    assert "--generator unet_128: takes pictures, and --method from-noise gives it noise; use up" in done.stderr


def test_an_option_of_a_network_is_one_of_train_and_stands_in_the_model(run: Run, tmp_path: Path) -> None:
    train(run, "from-noise", "run", 1, "--noise-dim", "9", "--noise", "uniform", "--wandb", "disabled")
    about = json.loads(run("info", "run", "--json").stdout)
    assert about["generators"]["zb"]["noise_dim"] == 9
    assert about["generators"]["zb"]["noise"] == "uniform"
