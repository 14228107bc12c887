"""`cyclegan train`: which of the places that can set an option wins, and what becomes of the words in a file.

Nearly everything here is a `--dry-run`: the command resolves its configuration, prints it and stops.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cyclegan.cli.train import command, read_config_file
from cyclegan.config import PRESETS, TrainConfig, flatten, resolve
from cyclegan.config.train_config import known_keys
from cyclegan.methods import METHODS, options_of
from tests.cli.program import TINY, cyclegan_train, flags, invoke, refused, resolved, write

Folder = Callable[..., Path]

# Of every option another value than its default, so that none can be lost on the way without being missed
OTHER: dict[str, Any] = {
    "a": "horses: brown",  # with what YAML would take for a mapping
    "b": "no",  # and for False
    "test_a": "007",  # and for a number
    "test_b": "zebras/été",
    "holdout": 0.1,
    "load_size": 64,
    "crop_size": 48,
    "flip": False,
    "augment": "~",
    "range": "100,4000",
    "workers": 3,
    "worker_timeout": 60,
    "timeout": 30,
    "gradient_dtype": "bf16",
    "lr_scale": "sqrt",
    "cache": "disk",
    "generator": "unet_128",
    "discriminator": "pixel",
    "channels": 8,
    "norm": "none",
    "spectral_norm": True,
    "upsampling": "resize",
    "dropout": True,
    "init": "xavier",
    "steps": 10,
    "decay_steps": 4,
    "batch_size": 4,
    "accumulate": 2,
    "lr_generator": 1e-5,
    "lr_discriminator": 3e-4,
    "beta1": 0.0,
    "beta2": 0.99,
    "clip_gradient": 1.0,
    "ema_decay": 0.9,
    "seed": 7,
    "device": "cpu",
    "precision": "fp32",
    "compile": "off",
    "checkpoint_activations": True,
    "log_every": 2,
    "sample_every": 3,
    "samples": 5,
    "state_every": 6,
    "generators_every": 8,
    "evaluate_every": 9,
    "evaluate_pictures": 16,
    "features": "judge",
    "classes": "zebra",
    "metric": "judge_ab,fid",
    "patience": 3,
    "on_alarm": "restart",
    "wandb": "disabled",
    "wandb_project": "on",
    "adversarial": "wgan-gp",
    "lambda_cycle": 5.0,
    "lambda_identity": 0.0,
    "reconstruction": "l2",
    "pool_size": 0,
    "r1": 0.5,
    "gradient_penalty": 1.0,
    "diffaug": "color,cutout",
    "cycle_noise": 2.0,
}


# Who wins


PLACES = ("preset", "config", "environment", "command line")


@pytest.mark.parametrize(
    "used",
    [used for count in range(5) for used in itertools.combinations(PLACES, count)],
    ids=lambda used: " and ".join(used) or "nothing",
)
def test_the_command_line_wins_over_the_environment_over_the_file_over_the_preset_over_the_default(
    tmp_path: Path, used: tuple[str, ...]
) -> None:
    values = {"nothing": TrainConfig().sample_every, "preset": PRESETS["demo"]["sample_every"]}
    values |= {"config": 3, "environment": 4, "command line": 5}
    assert len(set(values.values())) == 5
    words = {
        "preset": ["--preset", "demo"],
        "config": ["--config", str(write(tmp_path / "run.yaml", f"sample_every: {values['config']}"))],
        "command line": ["--sample-every", str(values["command line"])],
    }
    environment = {"sample_every": values["environment"]} if "environment" in used else {}
    found = resolved(*itertools.chain(*(words.get(place, []) for place in used)), environment=environment)
    assert found["sample_every"] == values[used[-1] if used else "nothing"]


def test_the_environment_sets_numbers_switches_and_method_options() -> None:
    found = resolved(environment={"batch_size": 4, "flip": 0, "lambda_cycle": 5, "wandb": "offline", "a": "x"})
    assert {name: found[name] for name in ("batch_size", "flip", "lambda_cycle", "wandb", "a")} == {
        "batch_size": 4, "flip": False, "lambda_cycle": 5.0, "wandb": "offline", "a": "x",
    }  # fmt: skip


def test_an_empty_variable_is_none() -> None:
    assert resolved(environment={"batch_size": ""})["batch_size"] == 1


def test_switches_can_be_turned_back_by_a_stronger_place(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "flip: false\ndropout: true")
    assert (resolved("--config", file)["flip"], resolved("--config", file)["dropout"]) == (False, True)
    found = resolved("--config", file, "--flip", "--no-dropout")
    assert (found["flip"], found["dropout"]) == (True, False)


def test_a_default_value_that_is_written_out_wins_like_any_other(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "batch_size: 4")
    assert resolved("--config", file, "--batch-size", TrainConfig().batch_size)["batch_size"] == 1


@pytest.mark.parametrize(
    ("file", "environment", "words", "expected"),
    [
        ("epochs: 7", {}, ["--steps", 100], {"steps": 100}),
        ("steps: 100", {}, ["--epochs", 7], {"epochs": 7}),
        ("steps: 100\ndecay_steps: 60", {"epochs": 7, "decay_epochs": 3}, [], {"epochs": 7, "decay_epochs": 3}),
        ("", {"epochs": 7, "decay_epochs": 3}, ["--steps", 100], {"steps": 100}),
        ("", {"steps": 100}, ["--epochs", 7, "--decay-epochs", 3], {"epochs": 7, "decay_epochs": 3}),
        ("steps: 100\ndecay_steps: 60", {"steps": 50}, [], {"steps": 50}),
        ("steps: 100", {}, ["--decay-steps", 60], {"steps": 100, "decay_steps": 60}),
        ("epochs: 7\ndecay_epochs: 3", {"steps": 100}, ["--epochs", 9], {"epochs": 9}),
        ("epochs: 7\ndecay_epochs: 3", {}, ["--decay-epochs", 9], {"epochs": 7, "decay_epochs": 9}),
        ("preset: demo", {}, ["--epochs", 7, "--decay-epochs", 3], {"epochs": 7, "decay_epochs": 3}),
    ],
)
def test_the_length_is_the_one_of_the_strongest_place_that_speaks_of_it(
    tmp_path: Path, file: str, environment: dict[str, int], words: list[object], expected: dict[str, int]
) -> None:
    config = ["--config", write(tmp_path / "run.yaml", file)] if file else []
    found = resolved(*config, *words, environment=environment)
    length = {name: found[name] for name in ("steps", "decay_steps", "epochs", "decay_epochs")}
    assert {name: value for name, value in length.items() if value is not None} == expected


def test_two_lengths_in_one_place_are_refused(tmp_path: Path) -> None:
    sentence = "--steps and --epochs exclude each other; give one of them"
    assert refused("--steps", 5, "--epochs", 5) == sentence
    assert refused(environment={"steps": 5, "epochs": 5}) == sentence
    assert refused("--config", write(tmp_path / "run.yaml", "steps: 5\nepochs: 5")) == sentence


def test_a_data_set_on_the_command_line_replaces_two_folders_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "a: horses\nb: zebras\ntest_a: more")
    found = resolved("--config", file, "--data", "horse2zebra")
    assert [found[name] for name in ("data", "a", "b", "test_a")] == ["horse2zebra", None, None, None]


# The dry run, and the command itself


def test_every_option_of_a_run_is_an_option_of_the_command_and_there_is_no_other() -> None:
    expected = known_keys().union(*(known_keys(method.Options) for method in METHODS.values()))
    offered = {parameter.name for parameter in command.params}
    assert offered == expected | {"output", "resume", "preset", "config", "nproc", "dry_run"}
    assert all(isinstance(parameter, click.Option) and parameter.help for parameter in command.params)


def test_help_shows_the_defaults_of_the_configuration() -> None:
    shown = " ".join(invoke("train", "--help").stdout.split())
    for words in (
        "[default: 286]",
        "[default: 0.0002]",
        "own, resnet_9blocks",
        "[auto|online|offline|disabled]",
    ):
        assert words in shown


def test_a_value_that_is_in_no_table_is_refused_with_the_table() -> None:
    assert "'resnet_9blocks', 'resnet_6blocks'" in refused("--generator", "resnet")
    assert "'lsgan', 'bce', 'hinge', 'wgan-gp'" in refused("--adversarial", "gan")


def test_of_every_option_another_value_is_known_to_these_tests() -> None:
    defaults = flatten(TrainConfig(), options_of("cyclegan"))
    silenced = {"data", "epochs", "decay_epochs", "method"}  # by a and b, by steps; there is one method
    assert set(OTHER) == set(defaults) - silenced
    assert not {name for name, value in OTHER.items() if value == defaults[name]}


def test_every_option_reaches_the_configuration() -> None:
    found = resolved(*flags(OTHER))
    assert {name: found[name] for name in OTHER} == OTHER


@pytest.mark.parametrize(
    "words",
    [flags(OTHER), [], ["--preset", "demo"], ["--preset", "fast", "--epochs", "3"], ["--data", "x", "--steps", "0"]],
    ids=["everything", "nothing", "demo", "fast", "data"],
)
def test_what_a_dry_run_prints_is_a_file_that_gives_the_same_configuration(tmp_path: Path, words: list[str]) -> None:
    printed = cyclegan_train(*words, "--dry-run").stdout
    file = write(tmp_path / "run.yaml", printed)
    assert cyclegan_train("--config", file, "--dry-run").stdout == printed
    options = options_of("cyclegan")
    read = resolve([read_config_file(file)], options)
    assert read == resolve([flatten(read, options)], options)


def test_a_dry_run_asks_nothing_of_the_disk_and_leaves_nothing_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved("--a", "not-there", "--b", "nor-this", "-o", "run")
    assert not list(tmp_path.iterdir())


# Going on with a run


@pytest.mark.slow
def test_resume_needs_no_other_option_and_ends_as_the_run_would_have(
    tmp_path: Path, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*TINY, *flags({"a": folder("a", 3, 40), "b": folder("b", 3, 40), "steps": 2, "state_every": 1})]
    run = tmp_path / "run"
    assert cyclegan_train(*words, "-o", run).stdout == f"{run}\n"
    undisturbed = (run / "checkpoints" / "generators-00000002.safetensors").read_bytes()
    for path in (run / "checkpoints").glob("*-00000002.*"):
        path.unlink()  # as if it had been stopped after its first step

    with caplog.at_level(logging.INFO, "cyclegan"):
        result = cyclegan_train("--resume", run)
    assert (result.exit_code, result.stdout) == (0, f"{run}\n"), result.output
    assert f"resuming {run} at step 1 of 2" in caplog.text
    assert "taking over" not in caplog.text
    assert (run / "checkpoints" / "generators-00000002.safetensors").read_bytes() == undisturbed


@pytest.mark.slow
def test_options_beside_resume_change_the_run_and_that_is_said(
    tmp_path: Path, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*TINY, *flags({"a": folder("a", 3, 40), "b": folder("b", 3, 40)})]
    run = tmp_path / "run"
    assert cyclegan_train(*words, "-o", run).exit_code == 0
    with caplog.at_level(logging.INFO, "cyclegan"):
        result = cyclegan_train("--resume", run, "--steps", 2, "--decay-steps", 0, environment={"log_every": 5})
    assert result.exit_code == 0, result.output
    said = [record.getMessage() for record in caplog.records if "taking over" in record.getMessage()]
    assert said == ["taking over --steps 2 (was 1)", "taking over --log-every 5 (was 20)"]
    assert (run / "checkpoints" / "state-00000002.pt").exists()


@pytest.mark.slow
def test_a_run_that_is_longer_than_asked_for_is_done(tmp_path: Path, folder: Folder) -> None:
    words = [*TINY, *flags({"a": folder("a", 3, 40), "b": folder("b", 3, 40), "steps": 2})]
    assert cyclegan_train(*words, "-o", tmp_path / "run").exit_code == 0
    result = cyclegan_train("--resume", tmp_path / "run", "--steps", 1)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'run'}\n"), result.output
    assert (tmp_path / "run" / "checkpoints" / "state-00000002.pt").exists()


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 1])
def test_a_large_seed_keeps_its_digits_and_trains(tmp_path: Path, folder: Folder, seed: int) -> None:
    assert resolved("--seed", seed)["seed"] == seed
    words = flags({"a": folder("a", 3, 40), "b": folder("b", 3, 40), "seed": seed})
    assert cyclegan_train(*TINY, *words, "-o", tmp_path / "run").exit_code == 0


def test_a_preset_beside_resume_is_refused(tmp_path: Path) -> None:
    assert refused("--resume", tmp_path, "--preset", "fast").startswith("--preset: --resume keeps the values")


def test_resume_and_an_output_are_two_names_for_one_thing() -> None:
    assert refused("--resume", "x", "-o", "y") == "--resume and -o both name the run; give one of them"


def test_resume_of_what_is_no_run_says_so(tmp_path: Path) -> None:
    sentence = refused("--resume", tmp_path)
    assert sentence.startswith(f"{tmp_path} ")
    assert "is no run" in sentence
    assert "config.yaml" in sentence
    assert not list(tmp_path.iterdir())


def test_without_an_output_the_run_is_named_after_its_folders(
    tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder("horses", 2, 40), folder("zebras", 2, 40)
    result = cyclegan_train(*TINY, "--a", "horses", "--b", "zebras")
    assert result.stdout == "runs/horses2zebras\n", result.output
    assert (tmp_path / "runs" / "horses2zebras" / "status.json").exists()
