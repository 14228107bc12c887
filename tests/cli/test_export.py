"""`cyclegan export`, as seen from the command line; the weights themselves are tested with the export room."""

from __future__ import annotations

from pathlib import Path

import torch

from cyclegan.models.export.junyanz import load_reference
from tests.cli.program import invoke
from tests.models.examples import generators, generators_file, same, state, state_file


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_is_written_with_its_discriminators(tmp_path: Path, run: Path) -> None:
    result = invoke("export", run, tmp_path / "out", "--format", "junyanz")
    assert result.exit_code == 0, result.output
    assert _names(tmp_path / "out") == [f"latest_net_{part}.pth" for part in ("D_A", "D_B", "G_A", "G_B")]
    assert result.stdout.count("wrote ") == 4
    assert "--netG resnet_6blocks" in result.stderr
    back, judges = load_reference(tmp_path / "out")
    assert all(same(network, back[way]) for way, network in generators().items())
    weights = state()["method"]
    assert torch.equal(judges["a"].state_dict()["head.weight"], weights["discriminators.a.head.weight"])


def test_a_generators_file_is_written_without_discriminators(tmp_path: Path, run: Path) -> None:
    result = invoke(
        "export", run / "checkpoints/generators-00000007.safetensors", tmp_path / "out", "--format", "junyanz"
    )
    assert result.exit_code == 0, result.output
    assert _names(tmp_path / "out") == ["latest_net_G_A.pth", "latest_net_G_B.pth"]


def test_discriminators_of_another_step_are_said_to_be(tmp_path: Path, run: Path) -> None:
    state_file(run / "checkpoints/state-00000009.pt", state(step=9))
    result = invoke("export", run, tmp_path / "out", "--format", "junyanz")
    assert "discriminators are from step 9, the generators from step 7" in result.stderr


def test_what_cannot_be_expressed_there_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model.safetensors", upsampling="resize")
    result = invoke("export", path, tmp_path / "out", "--format", "junyanz")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert _names(tmp_path / "out") == []


def test_a_folder_with_something_in_it_is_left_alone_unless_asked(tmp_path: Path, run: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/latest_net_G_A.pth").write_text("mine")
    result = invoke("export", run, tmp_path / "out", "--format", "junyanz")
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert (tmp_path / "out/latest_net_G_A.pth").read_text() == "mine"
    assert invoke("export", run, tmp_path / "out", "--overwrite", "--format", "junyanz").exit_code == 0


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path, run: Path) -> None:
    result = invoke("export", run, tmp_path / "out", "--format", "onyx")
    assert result.exit_code == 2
    assert "junyanz" in result.stderr
