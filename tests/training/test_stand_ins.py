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
from tests.support.programs import Ended, run_commands
from tests.support.run_files import read_metrics
from tests.support.stand_ins import STAND_INS

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
DIRECTIONS = {"from-noise": "zb", "pairs": "ab", "one-way": "ab"}
COLUMNS = {"from-noise": "fake", "pairs": "real, fake, truth", "one-way": "real, fake"}
TINY = [
    *("--channels", "2", "--load-size", "36", "--crop-size", "32", "--workers", "0", "--device", "cpu"),
    *("--precision", "fp32", "--log-every", "1", "--sample-every", "3", "--state-every", "3", "--samples", "2"),
    *("--ema-decay", "0.9", "--evaluate-every", "0", "--decay-steps", "0", "--batch-size", "2"),
]
PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(params=STAND_INS)
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(tmp_path: Path, folder: Callable[..., Path]) -> Path:
    """A folder with the pictures `a` and `b`."""
    for name in ("a", "b"):
        folder(name, 14, 40)
    return tmp_path


def run(place: Path, *commands: list[str], **variables: str) -> list[Ended]:
    """The commands of the program with the stand-ins, in a process of their own."""
    before = "from tests.support.stand_ins import register\nregister()\n"
    return run_commands(*commands, before=before, cwd=place, env=environment(**variables), timeout=240)


def environment(**variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables


def training(method: str, where: str, steps: int, *more: str) -> list[str]:
    """The words of a training, offline unless there are `more`."""
    folders = ["--b", "b"] if method == "from-noise" else ["--a", "a", "--b", "b"]
    words = ["train", *folders, "--method", method, *TINY, "--steps", str(steps), "-o", where, "--wandb", "disabled"]
    return [*words, *more]


def weights(path: Path, step: int) -> dict[str, torch.Tensor]:
    state = torch.load(path / f"checkpoints/state-{step:08d}.pt", weights_only=True)
    return {name: value for name, value in state["method"].items() if isinstance(value, torch.Tensor)}


def test_all_of_it_from_training_to_a_page(method: str, place: Path) -> None:
    key = DIRECTIONS[method]
    grid = f"{key[0]}2{key[1]}"
    features = ("--features", "resnet18", "--random-features")
    with Service() as service:
        # Stopped after three steps and gone on with, the run is that of one start, to the bit
        *trained, measured, reported, about, said, translated = run(
            place,
            training(method, "run", 6, "--wandb", "online"),
            training(method, "halves", 3),
            training(method, "halves", 6),
            ["evaluate", "run", *features, "--size", "32", "--json"],
            ["report", "run"],
            ["info", "run", "--json"],
            ["info", "run"],
            ["translate", "run", "a", "out"],
            **service.environment(place / "home"),
        )
    assert [ended.code for ended in (*trained, measured, reported, about, said)] == [0] * 7, (trained, measured)
    assert service.runs, "nothing arrived at Weights & Biases"
    once, twice = weights(place / "run", 6), weights(place / "halves", 6)
    assert once.keys() == twice.keys()
    assert all(torch.equal(value, twice[name]) for name, value in once.items())

    journal = read_metrics(place / "run")
    assert {row[f"columns/samples/{grid}"] for row in journal if f"columns/samples/{grid}" in row} == {COLUMNS[method]}
    assert (place / f"run/samples/{grid}-00000006.png").is_file()
    assert any("scores/b/real" in row for row in journal)
    meta = json.loads((place / "run/meta.json").read_text())
    assert (meta["method"], meta["directions"], meta["equilibrium"]) == (method, [key], 0.5)
    assert list(meta["domains"]) == list(STAND_INS[method].domains)

    figures = json.loads(measured.out)["metrics"]
    assert f"fid_{key}" in figures
    assert (f"psnr_{key}" in figures) is (method == "pairs")

    assert method in (place / "run/report.html").read_text()

    model = json.loads(about.out)
    assert list(model["generators"]) == [key]
    assert model["info"]["domains"] == {name: name for name in STAND_INS[method].domains}
    assert ("noise to b" in said.out) is (method == "from-noise")

    if method == "from-noise":
        assert translated.code == 2
        assert "makes pictures from noise (direction zb) and translates none" in translated.err
    else:
        assert translated.code == 0, translated.err
        assert len(list((place / "out").glob("*.png"))) == 14


def test_two_processes_make_the_steps_of_one(method: str, place: Path) -> None:
    (alone,) = run(place, training(method, "one", 3))
    assert alone.code == 0, alone.err
    command = [sys.executable, *PROCESSES, "-m", "tests.support.stand_ins", *training(method, "two", 3)]
    both = subprocess.run(
        command, cwd=place, capture_output=True, text=True, env=environment(), timeout=240, check=False
    )
    assert both.returncode == 0, both.stderr
    one, two = weights(place / "one", 3), weights(place / "two", 3)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=2e-2, atol=2e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
    first, second = (read_metrics(place / name) for name in ("one", "two"))
    key = "loss/adversarial_b"
    values = [[row[key] for row in found if key in row] for found in (first, second)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_what_does_not_suit_the_method_is_refused(place: Path) -> None:
    a_folder, a_network = run(
        place,
        training("from-noise", "run", 1, "--a", "a"),
        training("from-noise", "run", 1, "--generator", "unet_128"),
    )
    assert (a_folder.code, a_network.code) == (2, 2)
    assert "--a" in a_folder.err
    assert "from-noise" in a_folder.err
    assert "--generator unet_128: takes pictures, and --method from-noise gives it noise; use up" in a_network.err


def test_an_option_of_a_network_is_one_of_train_and_stands_in_the_model(place: Path) -> None:
    trained, about = run(
        place,
        training("from-noise", "run", 1, "--noise-dim", "9", "--noise", "uniform"),
        ["info", "run", "--json"],
    )
    assert trained.code == 0, trained.err
    generator = json.loads(about.out)["generators"]["zb"]
    assert (generator["noise_dim"], generator["noise"]) == (9, "uniform")
