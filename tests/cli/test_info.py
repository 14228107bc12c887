"""`cyclegan info`: what a model says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import invoke
from tests.models.examples import INFO, generators_file, state, state_file


def test_info_says_what_a_person_wants_to_know(run: Path) -> None:
    result = invoke("info", run)
    assert result.exit_code == 0
    for words in (
        "step         7",
        "horses to zebras: resnet_6blocks",
        "zebras to horses",
        "crop_size    32",
        "checked",
    ):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".", "run"),
        ("checkpoints/state-00000007.pt", "checkpoint"),
        ("checkpoints/generators-00000007.safetensors", "generators file"),
    ],
)
def test_info_says_the_same_of_all_three_kinds_to_a_machine(run: Path, name: str, kind: str) -> None:
    result = invoke("info", run / name, "--json")
    assert result.exit_code == 0
    about = json.loads(result.stdout)
    assert about["kind"] == kind
    assert about["info"] == INFO
    assert about["generators"]["ab"]["name"] == "resnet_6blocks"
    assert about["generators"]["ab"]["parameters"] > 1000
    assert about["damaged"] == []


def test_info_tells_of_damaged_files_that_a_run_passed_over(run: Path) -> None:
    generators_file(run / "checkpoints/generators-00000009.safetensors").write_bytes(b"")
    about = json.loads(invoke("info", run, "--json").stdout)
    assert about["file"].endswith("generators-00000007.safetensors")
    assert "generators-00000009.safetensors is empty" in about["damaged"][0]


def test_info_of_a_damaged_file_is_its_damage(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model")
    path.write_bytes(path.read_bytes()[:-1])
    result = invoke("info", path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Error: MODEL: " in result.stderr


def test_info_says_channels_and_ranges(tmp_path: Path) -> None:
    ranges = {"a": "-1000,3071", "b": "0,1", "dtype": "int16"}
    state_file(tmp_path / "state.pt", state(in_channels=5, out_channels=1) | {"ranges": ranges})
    shown = invoke("info", tmp_path / "state.pt").stdout
    assert "range a      -1000 to 3071 in int16 (horses)" in shown
    assert "range b      0 to 1 in int16 (zebras)" in shown
    assert "in_channels 5, out_channels 1" in shown
    about = json.loads(invoke("info", tmp_path / "state.pt", "--json").stdout)
    assert about["info"]["ranges"] == ranges


def test_info_of_a_model_without_ranges_says_what_is_black_and_white_to_it(run: Path) -> None:
    assert "range        all that the type of a picture can hold" in invoke("info", run).stdout
