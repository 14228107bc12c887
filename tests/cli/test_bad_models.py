"""Bad input gets one sentence and the right exit code: models and states that do not fit, are spoilt, or hold code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.models import save_model
from cyclegan.system.files import file_sha256
from cyclegan.training.storage.checkpoint import read_state
from tests.cli.program import Ended, is_sentence, untouched
from tests.models.examples import INFO, generators

Folder = Callable[..., Path]
Program = Callable[..., Ended]


@pytest.mark.slow
def test_another_architecture_than_the_run_was_begun_with(train: Program, program: Program) -> None:
    assert train("-o", "run").code == 0
    with untouched(Path("run")):
        for option, value, was in (("--channels", 3, 2), ("--norm", "batch", "instance"), ("--crop-size", 24, 32)):
            sentence = f"{option}: this run was begun with {was}, not {value}; give {option} {was}, or another -o"
            is_sentence(train("-o", "run", option, value), 2, sentence)
            is_sentence(program("train", "--resume", "run", option, value), 2, sentence)


@pytest.mark.parametrize("command", ["translate", "info", "export"])
def test_a_model_with_weights_that_are_not_numbers(
    program: Program, folder: Folder, tmp_path: Path, command: str
) -> None:
    networks = generators()
    with torch.no_grad():
        next(networks["ab"].parameters()).fill_(float("nan"))
    save_model(tmp_path / "nan.safetensors", networks, info=INFO)
    words = {
        "translate": [folder("in", 1), "out", "--device", "cpu"],
        "info": [],
        "export": ["out", "--format", "junyanz"],
    }[command]
    is_sentence(program(command, tmp_path / "nan.safetensors", *words), 1, "MODEL: ", "not finite", "of generator ab")
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_state_with_weights_that_are_not_numbers_is_not_made_the_newest(train: Program, program: Program) -> None:
    assert train("-o", "run").code == 0
    path = Path("run/checkpoints/state-00000001.pt")
    state = read_state(path)
    for name, weights in state["method"].items():
        if name.startswith("generators.") and weights.is_floating_point():
            weights.fill_(float("nan"))
    _save_state(path, state)
    with untouched(Path("run/checkpoints")):
        ended = program("train", "--resume", "run", "--steps", 20, "--log-every", 50, "--state-every", 15)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith("Error: 14 steps in a row had a loss or gradient that is not finite")


class _Code:
    """An object whose loading makes a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def _save_state(path: Path, content: Any) -> None:
    torch.save(content, path)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")


@pytest.mark.parametrize("bare", [True, False], ids=["pickle", "torch"])
@pytest.mark.parametrize("name", ["state-00000001.pt", "latest_net_G_A.pth", "model.bin", "model.safetensors"])
def test_a_pickle_with_code_as_the_model_is_refused_and_not_run(
    program: Program, folder: Folder, tmp_path: Path, name: str, bare: bool
) -> None:
    made, model = tmp_path / "made", tmp_path / name
    code = _Code(made)
    if bare:
        model.write_bytes(pickle.dumps(code))
    else:
        torch.save(code, model)
    pictures = folder("in", 1)
    for words in (("translate", model, pictures, "out"), ("info", model), ("import-junyanz", model, "x.safetensors")):
        ended = program(*words)
        assert (ended.out, ended.err.count("\n"), ended.code in (1, 2)) == ("", 1, True), ended
        assert str(model) in ended.err
        assert not list(Path.cwd().iterdir()), words
    assert not made.exists()
    pickle.loads(pickle.dumps(code))  # it would have
    assert made.exists()


def test_a_state_with_code_in_it_is_refused_on_resume(train: Program, program: Program, tmp_path: Path) -> None:
    assert train("-o", "run").code == 0
    _save_state(Path("run/checkpoints/state-00000001.pt"), _Code(tmp_path / "made"))
    ended = program("train", "--resume", "run")
    assert (ended.code, ended.out) == (1, "")
    assert "is refused: it holds more than tensors and plain values" in ended.err
    assert ended.err.splitlines()[-1].startswith("Error: none of the 1 states in run/checkpoints can be used")
    assert not (tmp_path / "made").exists()
