"""`cyclegan train --config FILE`: what a file may say, and how it is told what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyclegan.config import PRESETS, TrainConfig
from tests.cli.program import refused, resolved, write


def test_a_file_may_name_its_preset_and_change_it(tmp_path: Path) -> None:
    found = resolved("--config", write(tmp_path / "run.yaml", "preset: fast\nchannels: 16"))
    assert (found["channels"], found["crop_size"]) == (16, PRESETS["fast"]["crop_size"])


def test_a_preset_on_the_command_line_or_in_the_environment_replaces_the_one_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "preset: fast\nseed: 3")
    for found in (
        resolved("--config", file, "--preset", "demo"),
        resolved("--config", file, environment={"preset": "demo"}),
    ):
        assert (found["crop_size"], found["seed"]) == (PRESETS["demo"]["crop_size"], 3)
    assert resolved("--config", file, "--preset", "paper")["crop_size"] == TrainConfig().crop_size


def test_names_in_a_file_may_be_spelt_as_on_the_command_line(tmp_path: Path) -> None:
    assert resolved("--config", write(tmp_path / "run.yaml", "batch-size: 4"))["batch_size"] == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bach_size: 4", "unknown option 'bach_size'; did you mean 'batch_size'?"),
        ("lamda_cycle: 4", "unknown option 'lamda_cycle'; did you mean 'lambda_cycle'?"),
        ("preset: fats", "--preset: unknown value 'fats'; did you mean 'fast'?"),
        ("method: cyclegann", "--method: unknown value 'cyclegann'; did you mean 'cyclegan'?"),
        ("preset: [fast]", "--preset: ['fast'] is not text; use one of best, demo, fast, paper"),
        ("preset:", "--preset: None is not text; use one of best, demo, fast, paper"),
        ("method: 5", "--method: 5 is not text; use one of cyclegan"),
        ("decay_steps: 5", "--decay-steps has no effect without --steps; give both, or --decay-epochs"),
        (f"seed: {10**400}", "--seed: that number is too large; give one below 2^63"),
        ("batch_size: four", "--batch-size: 'four' is not a whole number or auto"),
        ("lr_generator: .nan", "--lr-generator: nan is not a number"),
        ("norm: layer", "--norm: 'layer' is not one of instance, batch, none"),
        ("a: no", "--a: False is not text"),
        ("pool_size: -1", "--pool-size must be at least 0, not -1"),
        ("crop_size: 300", "--crop-size 300 is larger than --load-size 286; lower the first or raise the second"),
        ("data: x\na: y", "--data and --a exclude each other; give one of them"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_that_names_it(tmp_path: Path, text: str, sentence: str) -> None:
    assert refused("--config", write(tmp_path / "run.yaml", text)) == sentence


@pytest.mark.parametrize("text", ["- a\n- b\n", "batch_size", "3", "", "1: 2"])
def test_a_file_that_is_no_mapping_of_names_is_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "run.yaml", text)
    expected = f"--config {file}: must hold `name: value` lines, such as batch_size: 4"
    assert refused("--config", file) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.mkdir ['{made}']",
        "!!python/object/new:os.mkdir ['{made}']",
        "a: !!python/name:os.system",
    ],
)
def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path, text: str) -> None:
    made = tmp_path / "made"
    file = write(tmp_path / "run.yaml", text.format(made=made))
    assert refused("--config", file).startswith(f"--config {file}: is not plain YAML: ")
    assert not made.exists()


@pytest.mark.parametrize("content", [b"a: [1", b"a: b: c", b"\xff\xfe\x00", b"\x00"])
def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    assert refused("--config", tmp_path / "run.yaml").startswith(f"--config {tmp_path / 'run.yaml'}: is not plain")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "run.yaml"
    assert refused("--config", missing) == f"--config {missing}: cannot be read (No such file or directory)"
