"""`cyclegan data demo-score`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cyclegan.data.demo.write import write_demo
from tests.cli.program import invoke


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    write_demo(tmp_path / "demo", count=0, test_count=2, size=32)
    return tmp_path / "demo"


def test_the_table_sets_the_translation_beside_doing_nothing(demo: Path) -> None:
    result = invoke("data", "demo-score", demo / "truth/testA", "--demo", demo)
    assert result.exit_code == 0, result.output
    assert "2 pictures, A to B" in result.stdout
    assert [line.split()[2:4] for line in result.stdout.splitlines() if "texture" in line] == [["0.0%", "100.0%"]]


def test_the_direction_chooses_the_truth(demo: Path) -> None:
    arguments = ["data", "demo-score", str(demo / "truth/testB"), "--demo", str(demo), "--json"]
    marks = {direction: json.loads(invoke(*arguments, "--direction", direction).stdout) for direction in ("ab", "ba")}
    assert marks["ba"]["texture"] == 1
    assert marks["ba"]["texture_nothing"] == 0
    assert marks["ab"]["texture"] < 0.2  # plain animals of other scenes
    assert set(marks["ab"]) == {
        "count", "psnr", "psnr_nothing", "gain_db", "texture", "texture_nothing", "background", "background_error"
    }  # fmt: skip


def test_what_is_not_a_translation_is_one_sentence_and_exit_code_2(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("data", "demo-score", tmp_path / "empty", "--demo", demo)
    assert result.exit_code == 2
    assert "lacks 2 of 2 pictures" in result.stderr
    result = invoke("data", "demo-score", demo, "--demo", tmp_path / "elsewhere")
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
