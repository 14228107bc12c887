"""`cyclegan import-junyanz`, as seen from the command line; the weights themselves are tested with the export room."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyclegan.models import load_model
from cyclegan.models.export.junyanz import write_reference
from tests.cli.program import invoke
from tests.models.examples import generators, same


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "theirs").mkdir()
    write_reference(tmp_path / "theirs", generators())
    return tmp_path / "theirs"


def test_a_folder_of_theirs_becomes_a_model_of_ours(tmp_path: Path, theirs: Path) -> None:
    result = invoke("import-junyanz", theirs, tmp_path / "new/model.safetensors")
    assert result.exit_code == 0, result.output
    assert "ab (resnet_6blocks) and ba (resnet_6blocks)" in result.stdout
    model = load_model(tmp_path / "new/model.safetensors")
    assert all(same(network, model.generators[way]) for way, network in generators().items())
    assert "theirs" in model.info["source"]


def test_one_file_of_theirs_is_one_direction(tmp_path: Path, theirs: Path) -> None:
    result = invoke("import-junyanz", theirs / "latest_net_G_A.pth", tmp_path / "model.safetensors")
    assert result.exit_code == 0, result.output
    assert list(load_model(tmp_path / "model.safetensors").generators) == ["ab"]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path, theirs: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    result = invoke("import-junyanz", theirs, path)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert path.read_text() == "mine"
    assert invoke("import-junyanz", theirs, path, "--overwrite").exit_code == 0
    assert load_model(path)


@pytest.mark.parametrize(
    ("dest", "sentence"), [("model.pt", "ends in .safetensors"), ("folder.safetensors", "is a folder")]
)
def test_a_destination_that_is_no_model_file_is_refused(tmp_path: Path, theirs: Path, dest: str, sentence: str) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    result = invoke("import-junyanz", theirs, tmp_path / dest)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_source_with_nothing_in_it_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("import-junyanz", tmp_path / "empty", tmp_path / "model.safetensors")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "model.safetensors").exists()
