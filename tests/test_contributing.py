"""The recipes of CONTRIBUTING.md, followed to the letter: its classes in the tables that it names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cyclegan.config import resolve
from cyclegan.images import channels, formats, reading, writing
from cyclegan.images.picture import Picture
from cyclegan.losses import ADVERSARIAL_LOSSES, build_adversarial
from cyclegan.methods import METHODS, build_method
from cyclegan.networks import GENERATORS, build_generator
from cyclegan.training.alarms import ALARMS
from tests.support.documents import ROOT, blocks, example
from tests.support.methods import images_and_losses
from tests.support.run_files import read_metrics
from tests.training.alarms.conftest import Watched, scenes, watched  # noqa: F401 - fixtures
from tests.training.test_stand_ins import TINY, place, run  # noqa: F401 - a fixture


def test_a_method_minimises_what_its_formula_says(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = example("OneWay")
    monkeypatch.setitem(METHODS, "one-way", kind)
    small = {"method": "one-way", "channels": 2, "crop_size": 24, "load_size": 24, "lambda_keep": 3.0}
    method = build_method(resolve([small], kind.Options))
    batch = {name: torch.rand(1, 3, 24, 24) * 2 - 1 for name in ("a", "b")}
    images, losses = images_and_losses(method, batch)
    kept = 3 * (images["fake_b"] - batch["a"]).abs().mean()
    torch.testing.assert_close(losses["keep_a"], kept)
    sum(losses.values(), torch.zeros(())).backward()
    assert all(weight.grad is not None for weight in method.generator_parameters())
    assert set(method.discriminator_losses(batch, images)) == {"discriminator_b"}
    assert set(method.scores(batch, images)) == {"b/real", "b/fake"}


def test_a_loss_has_the_values_of_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADVERSARIAL_LOSSES, "least-absolute", example("LeastAbsolute"))
    loss = build_adversarial("least-absolute")
    real, fake = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), -0.5)
    assert loss.generator(lambda x: x, fake).item() == pytest.approx(1.5)
    assert loss.discriminator(lambda x: x, real, fake).item() == pytest.approx(0.5 * 2 + 0.5 * 0.5)


def test_a_network_takes_any_size_and_is_built_again_from_its_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "plain", example("Plain"))
    network = build_generator("plain", in_channels=1, channels=2, depth=1)
    assert network(torch.zeros(2, 1, 7, 5)).shape == (2, 3, 7, 5)
    again = build_generator(**network.spec)
    assert [weight.shape for weight in again.parameters()] == [weight.shape for weight in network.parameters()]


def test_an_alarm_is_raised_by_its_fault_and_by_nothing_healthy(
    watched: Callable[..., Watched],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ALARMS, "large-loss", example("LargeLoss"))
    alarms = watched()
    assert alarms.begin() == []
    assert alarms.rows([{"loss/cycle_a": 90.0}] * 3) == []
    assert alarms.rows([{"loss/cycle_a": 2000.0}] * 2, since=60) == ["large-loss"]
    assert "Losses above 1000: loss/cycle_a. " in alarms.recorder.alarms[0][2]


def test_a_format_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(**example("encoded").__globals__)
    monkeypatch.setitem(sys.modules, "cyclegan.images.formats.farbfeld", module)
    (line,) = (block for block in blocks(ROOT / "CONTRIBUTING.md", "text") if block.startswith('"FARBFELD": '))
    monkeypatch.setattr(formats, "FORMATS", formats.FORMATS | eval(f"{{{line}}}", vars(formats)))
    monkeypatch.setattr(channels, "FORMATS", formats.FORMATS)
    pixels = np.arange(5 * 7 * 3, dtype=np.uint16).reshape(5, 7, 3) * 600
    alpha = np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) * 1000
    again = reading.decode_picture(writing.encode_picture(Picture(pixels, alpha), ".ff"), "picture.ff")
    assert np.array_equal(again.pixels, pixels)
    assert np.array_equal(again.alpha, alpha)
    grey = writing.encode_picture(Picture(np.full((2, 3, 1), 128, np.uint8)), ".FF")
    assert (reading.decode_picture(grey, "grey.ff").pixels == 128 * 257).all()
    with pytest.raises(formats.UnreadableImage, match=r"cut.ff: "):
        reading.decode_picture(grey[:-1], "cut.ff")


@pytest.mark.process
def test_all_recipes_at_once_are_options_and_figures_of_a_training(place: Path) -> None:  # noqa: F811
    words = ["--a", "a", "--b", "b", "--method", "one-way", "--generator", "plain", "--depth", "1", *TINY]
    words += ["--adversarial", "least-absolute", "--lambda-keep", "1e5", "--steps", "4", "--wandb", "disabled"]
    features = ("--features", "resnet18", "--random-features")
    trained, info, measured = run(
        place,
        ["train", *words, "-o", "run"],
        ["info", "run", "--json"],
        ["evaluate", "run", *features, "--size", "32", "--json"],
    )
    assert trained.code == 0, trained.err
    assert any("alarm/large-loss" in row for row in read_metrics(place / "run"))
    spec = json.loads(info.out)["generators"]["ab"]
    assert (spec["name"], spec["depth"]) == ("plain", 1)
    assert {"brightness_ab", "brightness_real_ab"} <= json.loads(measured.out)["metrics"].keys()
