"""`cyclegan data demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import invoke
from tests.support.programs import modules_loaded_by

SMALL = ["--count", "2", "--test-count", "1", "--size", "16"]


def test_the_command_writes_the_folders_and_says_what_is_there(tmp_path: Path) -> None:
    result = invoke("data", "demo", tmp_path / "demo", *SMALL, "--seed", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("2 training and 1 test pictures per domain, 16×16, seed 3")
    pictures = {path.relative_to(tmp_path / "demo").parent.as_posix() for path in tmp_path.rglob("*.png")}
    assert pictures == {
        "trainA", "trainB", "testA", "testB", "truth/testA", "truth/testB", "truth/maskA", "truth/maskB"
    }  # fmt: skip


def test_count_0_is_allowed(tmp_path: Path) -> None:
    result = invoke("data", "demo", tmp_path, "--count", "0", "--test-count", "0")
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.rglob("*.png"))


def test_a_folder_that_holds_something_else_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    result = invoke("data", "demo", tmp_path, *SMALL)
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "name a new or an empty folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_in_the_place_of_the_folder_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    result = invoke("data", "demo", tmp_path / "demo", *SMALL)
    assert result.exit_code == 2
    assert "DEST" in result.stderr


def test_numbers_out_of_range_are_exit_code_2(tmp_path: Path) -> None:
    for option in (["--size", "8"], ["--count", "-1"], ["--seed", "-1"]):
        result = invoke("data", "demo", tmp_path / "demo", *option)
        assert result.exit_code == 2
        assert option[0] in result.stderr


@pytest.mark.process
def test_help_loads_nothing_heavy() -> None:
    loaded = modules_loaded_by("from cyclegan.cli.data import demo, demo_score")
    assert not loaded & {"numpy", "torch", "albumentations", "wandb", "PIL"}
