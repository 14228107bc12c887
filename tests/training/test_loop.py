"""The loop: what a run leaves behind, and how it ends when something goes wrong."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cyclegan import Translator
from cyclegan.config import TrainConfig, flatten, option
from cyclegan.errors import CycleganError, UsageError
from cyclegan.losses import build_adversarial
from cyclegan.methods import METHODS, Method
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.training import train
from tests.support.run_files import read_metrics, read_status


def states(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("*.pt"))


def test_the_figures_of_a_row_have_the_documented_names(tmp_path, tiny):
    run = train(tiny(steps=2), tmp_path / "run")
    row = read_metrics(run)[0]
    losses = {f"loss/{kind}_{d}" for kind in ("adversarial", "cycle", "identity", "discriminator") for d in "ab"}
    scores = {f"scores/{d}/{kind}" for d in "ab" for kind in ("real", "fake")}
    sides = {
        f"{kind}/{side}" for kind in ("learning_rate", "gradient_norm") for side in ("generators", "discriminators")
    }
    others = {"speed/images_per_second", "speed/data_wait", "memory/peak_gib"}
    others |= {"health/skipped_steps", "health/unreadable_pictures", "step", "time"}
    assert set(row) == losses | scores | sides | others
    assert row["learning_rate/generators"] == 2e-4
    assert read_metrics(run)[1]["learning_rate/generators"] == 2e-4  # the first step of one decaying: still 1
    assert 0 <= row["speed/data_wait"] <= 1


def test_grids_show_the_same_held_out_pictures_in_four_columns_each_time(tmp_path, tiny):
    run = train(tiny(steps=2, sample_every=1), tmp_path / "run")
    grids = [np.asarray(Image.open(run / "samples" / f"a2b-{step:08d}.png")) for step in (0, 1, 2)]
    assert grids[0].shape == (2 * 34 + 2, 4 * 34 + 2, 3)
    assert np.array_equal(grids[0][:, :34], grids[2][:, :34])  # the real ones stay
    assert not np.array_equal(grids[0][:, 34:], grids[2][:, 34:])
    assert (run / "samples" / "b2a-00000002.png").exists()


@pytest.mark.slow
def test_looking_at_samples_and_scores_changes_nothing(tmp_path, tiny):
    one = train(tiny(steps=3, sample_every=1, log_every=1, dropout=True, norm="batch"), tmp_path / "one")
    two = train(tiny(steps=3, sample_every=0, log_every=3, dropout=True, norm="batch"), tmp_path / "two")
    weights = [torch.load(run / "checkpoints" / "state-00000003.pt", weights_only=True)["method"] for run in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if "extra" not in name)


@pytest.mark.slow
def test_generators_are_kept_as_asked_and_translate(tmp_path, tiny):
    run = train(tiny(steps=5, state_every=1, generators_every=2), tmp_path / "run")
    kept = sorted(path.name for path in (run / "checkpoints").glob("generators-*"))
    assert kept == [f"generators-{step:08d}.safetensors" for step in (2, 4, 5)]
    assert states(run) == ["state-00000004.pt", "state-00000005.pt"]
    picture = np.zeros((9, 13, 3), np.uint8)
    assert Translator.load(run, device="cpu")(picture).shape == picture.shape


def test_epochs_count_the_larger_folder(tmp_path, tiny):
    config = tiny(epochs=1, decay_epochs=1, batch_size=2)
    run = train(config, tmp_path / "run")
    assert read_status(run)["steps"] == 2 * (5 // 2)


@dataclass(frozen=True)
class MirrorOptions:
    strength: float = option(1.0, "Weight of the only loss.", minimum=0)


class Mirror(Method):
    """A method nobody has heard of: one generator that must give back what it gets."""

    Options = MirrorOptions

    def __init__(self, make_generator, make_discriminator, *, strength: float) -> None:
        super().__init__()
        self.generators = nn.ModuleDict({"ab": make_generator("ab")})
        self.discriminators = nn.ModuleDict({"b": make_discriminator("b")})
        self.adversarial = build_adversarial("hinge")
        self.strength = strength

    def generator_turns(self, batch):
        fake = self.generators["ab"](batch["a"])
        yield {"fake_b": fake}, {"mirror": self.strength * (fake - batch["a"]).abs().mean()}

    def discriminator_losses(self, batch, images):
        return {
            "discriminator_b": self.adversarial.discriminator(self.discriminators["b"], batch["b"], images["fake_b"])
        }


def test_a_new_method_is_one_file_its_options_and_one_line_in_the_table(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "mirror", Mirror)
    config = tiny(steps=3, sample_every=3, method="mirror")
    config = TrainConfig(**{**config.__dict__, "options": {"strength": 2.0}})
    run = train(config, tmp_path / "run")
    assert any("loss/mirror" in row for row in read_metrics(run))
    assert flatten(config, MirrorOptions)["strength"] == 2.0
    assert Translator.load(run, device="cpu")(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["a2b-00000000.png", "a2b-00000003.png"]
    with pytest.raises(UsageError, match="--strength must be at least 0"):
        train(TrainConfig(**{**config.__dict__, "options": {"strength": -2.0}}), tmp_path / "other")


class Paired(Mirror):
    """One that learns from pairs, and says by how much those of a pair differ."""

    pairing = "aligned"
    equal_channels = False

    def generator_turns(self, batch):
        fake = self.generators["ab"](batch["a"])
        yield (
            {"fake_b": fake},
            {
                "mirror": (fake - batch["b"]).abs().mean(),
                "difference": (batch["a"][:, :1] - batch["b"][:, :1]).abs().mean() + 0 * fake.mean(),
            },
        )


@pytest.mark.slow
def test_a_method_declares_that_its_pictures_go_in_pairs(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "paired", Paired)
    (tmp_path / "pairs").mkdir()
    for path in (tmp_path / "a").iterdir():
        Image.open(path).save(tmp_path / "pairs" / f"{path.stem}.bmp")
    config = tiny(method="paired", b=str(tmp_path / "pairs"), batch_size=2, sample_every=3)
    config = TrainConfig(**{**config.__dict__, "options": {}})
    whole = train(dataclasses.replace(config, steps=6, decay_steps=0), tmp_path / "whole")
    for steps in (3, 6):
        run = train(dataclasses.replace(config, steps=steps, decay_steps=0), tmp_path / "run")
    assert [row["loss/difference"] for row in read_metrics(run) if "loss/difference" in row] == [0.0] * 6
    weights = [torch.load(each / "checkpoints/state-00000006.pt", weights_only=True)["method"] for each in (whole, run)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def poisoned(monkeypatch: pytest.MonkeyPatch, from_step: int, to_step: int) -> None:
    calls = iter(range(1, 10_000))
    losses = CycleGAN._generator_losses

    def bad(self, *turn):
        found = losses(self, *turn)
        if "cycle_a" not in found:  # the other turn of the same step
            return found
        number = next(calls)
        if from_step <= number <= to_step:
            found["cycle_a"] = found["cycle_a"] * float("nan")
        return found

    monkeypatch.setattr(CycleGAN, "_generator_losses", bad)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_skips_its_step_and_is_counted(tmp_path, tiny, monkeypatch):
    poisoned(monkeypatch, 2, 4)
    run = train(tiny(steps=6), tmp_path / "run")
    rows = read_metrics(run)
    assert [row["health/skipped_steps"] for row in rows if "health/skipped_steps" in row] == [0, 1, 2, 3, 3, 3]
    assert rows[1]["loss/cycle_a"] is None
    assert np.isfinite(rows[-2]["loss/cycle_a"])


@pytest.mark.slow
def test_ten_in_a_row_stop_the_run_with_the_last_good_state_untouched(tmp_path, tiny, monkeypatch):
    poisoned(monkeypatch, 4, 99)
    with pytest.raises(CycleganError, match=r"1\d steps in a row"):
        train(tiny(steps=30, state_every=3, log_every=30), tmp_path / "run")
    assert states(tmp_path / "run")[-1] == "state-00000012.pt"
    assert read_status(tmp_path / "run")["status"] == "failed"
    good = torch.load(tmp_path / "run/checkpoints/state-00000012.pt", weights_only=True)
    assert all(torch.isfinite(v).all() for v in good["method"].values() if isinstance(v, torch.Tensor))


@pytest.mark.slow
def test_unreadable_pictures_are_replaced_and_too_many_stop_the_run(tmp_path, tiny, folder, caplog):
    config = tiny(steps=6)
    many = folder("many", 40, 40)
    (many / "000.png").write_text("not a picture")
    run = train(TrainConfig(**{**config.__dict__, "a": str(many), "steps": 40}), tmp_path / "few")
    assert read_metrics(run)[-2]["health/unreadable_pictures"] == 1
    assert caplog.text.count("000.png cannot be read") == 1
    (folder("a", 5, 40) / "000.png").write_text("not a picture")
    with pytest.raises(CycleganError, match=r"1 of 9 pictures cannot be read[\s\S]*000.png"):
        train(config, tmp_path / "run")


def test_one_picture_in_each_folder_works_with_a_warning(tmp_path, tiny, folder, caplog):
    config = tiny(steps=1)
    train(TrainConfig(**{**config.__dict__, "a": str(folder("one", 1)), "b": str(folder("two", 1))}), tmp_path / "run")
    assert "one" in caplog.text


COMMAND = [sys.executable, "-m", "cyclegan", "train", "--preset", "demo", "--generator", "resnet_6blocks"]
COMMAND += ["--channels", "2", "--load-size", "32", "--crop-size", "32", "--device", "cpu", "--precision", "fp32"]
COMMAND += ["--wandb", "disabled", "--sample-every", "0", "--log-every", "1", "--workers", "1"]


def started(tmp_path: Path, folder, *more: str) -> subprocess.Popen:
    arguments = ["--a", str(folder("a", 5, 40)), "--b", str(folder("b", 4, 40)), "-o", str(tmp_path / "run"), *more]
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(run: Path, count: int) -> None:
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(read_metrics(run)) < count:
        assert time.monotonic() < end, "the run did not begin"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_a_signal_saves_a_state_and_says_how_to_go_on(tmp_path, folder, number, code):
    trainer = started(tmp_path, folder, "--steps", "100000")
    wait_for_steps(tmp_path / "run", 3)
    trainer.send_signal(number)
    out, err = trainer.communicate(timeout=60)
    assert trainer.returncode == code, err
    assert out == ""
    assert f"stopped by {number.name} at step" in err
    assert f"go on with `cyclegan train --resume {tmp_path / 'run'}`" in err
    assert "Traceback" not in err
    stopped = read_status(tmp_path / "run")
    assert stopped["status"] == "preempted"
    assert states(tmp_path / "run") == [f"state-{stopped['step']:08d}.pt"]

    resumed = subprocess.run(
        [*COMMAND[:4], "--resume", str(tmp_path / "run"), "--steps", str(stopped["step"] + 2)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{tmp_path / 'run'}\n"
    assert f"resuming {tmp_path / 'run'} at step {stopped['step']}" in resumed.stderr


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(tmp_path, folder):
    program = (
        "import os, signal, sys, time\n"
        "from cyclegan.training.signals import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop: time.sleep(0.01)\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process, process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_a_sentence_and_the_old_state_intact(tmp_path, folder):
    arguments = ["--a", str(folder("a", 5, 40)), "--b", str(folder("b", 4, 40)), "-o", str(tmp_path / "run")]
    first = subprocess.run([*COMMAND, *arguments, "--steps", "2"], capture_output=True, check=False, timeout=120)
    assert first.returncode == 0, first.stderr
    size = (tmp_path / "run/checkpoints/state-00000002.pt").stat().st_size
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))\n"
        "from cyclegan.cli import main; sys.argv = ['cyclegan', *sys.argv[1:]]; main()\n"
    )
    second = subprocess.run(
        [sys.executable, "-c", limited, *COMMAND[3:], *arguments, "--steps", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert second.returncode == 1
    assert "Traceback" not in second.stderr
    assert "could not be written" in second.stderr
    assert states(tmp_path / "run") == ["state-00000002.pt"]
    assert not [name for name in os.listdir(tmp_path / "run/checkpoints") if name.startswith(".")]
    assert read_status(tmp_path / "run")["status"] == "failed"


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_any_moment_the_next_start_resumes(tmp_path, folder):
    arguments = ["--steps", "100000", "--state-every", "1"]
    newest = 0
    for moment in (0.0, 0.07, 0.19):
        trainer = started(tmp_path, folder, *arguments)
        wait_for_steps(tmp_path / "run", newest + 3)
        time.sleep(moment)
        trainer.kill()
        trainer.communicate()
        saved = [
            name for name in states(tmp_path / "run") if (tmp_path / "run/checkpoints" / f"{name}.sha256").exists()
        ]
        assert saved
        now = int(saved[-1][6:14])
        assert now > newest
        newest = now
    last = subprocess.run(
        [*COMMAND[:4], "--resume", str(tmp_path / "run"), "--steps", str(newest + 2), "--decay-steps", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert last.returncode == 0, last.stderr
    assert "resuming" in last.stderr
    steps = [row["step"] for row in read_metrics(tmp_path / "run") if "loss/cycle_a" in row]
    assert steps == list(range(1, newest + 3))  # no row lost, none doubled
