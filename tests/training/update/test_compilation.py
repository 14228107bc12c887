"""When the networks are compiled, and what happens where they cannot be."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from cyclegan.config import TrainConfig
from cyclegan.methods import build_method
from cyclegan.training.update.compilation import COMPILE_FROM, compile_networks, uncompiled, wanted

CPU = torch.device("cpu")


def compiled(method) -> list[str]:
    """The networks of `method` that are."""
    networks = {**method.generators, **{f"discriminator {name}": d for name, d in method.discriminators.items()}}
    return [name for name, network in networks.items() if network._compiled_call_impl is not None]


@pytest.mark.parametrize(
    ("choice", "device", "steps", "expected"),
    [
        ("auto", "cuda", COMPILE_FROM, True),
        ("auto", "cuda", COMPILE_FROM - 1, False),
        ("auto", "cpu", 10**6, False),
        ("on", "cpu", 1, True),
        ("off", "cuda", 10**6, False),
    ],
)
def test_auto_compiles_where_the_rest_of_the_run_pays_for_it(choice, device, steps, expected):
    assert wanted(choice, torch.device(device), steps) is expected


def test_a_discriminator_with_a_penalty_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("cyclegan.training.update.compilation._obstacle", lambda device: "")
    options = {"adversarial": "wgan-gp"}
    plain, penalised = (build_method(TrainConfig(channels=2, options=o)) for o in ({}, options))
    names = list(plain.state_dict())
    assert compile_networks(plain, CPU)
    assert compile_networks(penalised, CPU)
    assert compiled(plain) == ["ab", "ba", "discriminator a", "discriminator b"]
    assert compiled(penalised) == ["ab", "ba"]
    assert list(plain.state_dict()) == names


@pytest.mark.parametrize("error", [RuntimeError("\n  InvalidCxxCompiler: none works\nmore"), ImportError("no triton")])
def test_a_compiler_that_fails_is_said_once_and_nothing_is_compiled(monkeypatch, caplog, error):
    def broken(function):
        def call(x):
            raise error

        return call

    monkeypatch.setattr(torch, "compile", broken)
    method = build_method(TrainConfig(channels=2))
    with caplog.at_level(logging.INFO, logger="cyclegan"):
        assert not compile_networks(method, CPU)
    assert compiled(method) == []
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("the networks are not compiled")
    assert str(error).strip().splitlines()[0] in said


@pytest.mark.slow
def test_a_run_without_a_compiler_goes_on_without_a_traceback(tmp_path, folder):
    for name in "ab":
        folder(name, 3, 32)
    (tmp_path / "small.yaml").write_text(
        "{steps: 2, channels: 2, load_size: 32, crop_size: 32, workers: 0, device: cpu, wandb: disabled, compile: 'on'}"
    )
    command = [sys.executable, "-m", "cyclegan", "train", "--a", "a", "--b", "b", "-o", "run", "--config", "small.yaml"]
    nothing = {"CXX": str(tmp_path / "none"), "CC": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": "inductor"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | nothing | {"PATH": "", "CYCLEGAN_CACHE": "cache"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("the networks are not compiled") == 1
    assert done.stderr.count("convolutions are computed by torch alone") == 1


@pytest.mark.slow
def test_to_look_at_a_compiled_network_compiles_it_for_nothing_else():
    shapes = []

    def backend(graph, inputs):
        shapes.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)])
        return graph.forward

    networks = nn.ModuleDict({"ab": nn.Linear(3, 3), "ba": nn.Linear(3, 3)})
    networks["ab"].compile(backend=backend)
    picture = torch.ones(2, 3)
    made = networks["ab"](picture)
    before = len(shapes)
    assert before > 0
    with uncompiled(networks), torch.inference_mode():
        assert torch.equal(networks["ab"].eval()(picture), made)
        networks["ab"](torch.ones(5, 3))
    assert len(shapes) == before
    networks["ab"](torch.ones(7, 3))  # and afterwards it is compiled as before
    assert len(shapes) > before


def test_to_look_at_other_networks_the_compiler_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.compiler, "set_stance", None)
    with uncompiled(nn.ModuleDict({"ab": nn.Linear(3, 3)})):
        pass
