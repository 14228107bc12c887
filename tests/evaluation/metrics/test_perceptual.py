"""The perceptual distance against its formula, with a network whose maps are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan.directions import Direction
from cyclegan.evaluation.evaluator import Evaluator, measure_batches
from cyclegan.evaluation.features.efficientnet_lite import VARIANTS, EfficientNetLite
from cyclegan.evaluation.metrics.metric import Measured, Setup, Tools
from cyclegan.evaluation.metrics.perceptual import MOST, LiteDistance, perceptual_distance
from cyclegan.system.pixels import to_unit
from tests.evaluation.examples import Engine, colours, folder, squares
from tests.support.pictures import random_batch


class Halves(EfficientNetLite):
    """Two maps: the picture, and its mean over 2 × 2 pixels."""

    def maps(self, x: Tensor) -> list[Tensor]:
        return [x, torch.nn.functional.avg_pool2d(x, 2)]


@pytest.fixture(scope="module")
def halves() -> LiteDistance:
    return LiteDistance(Halves(VARIANTS["lite0"]), 16)


def test_it_is_the_squared_distance_of_directions_averaged_over_pixels_and_summed_over_maps(
    halves: LiteDistance,
) -> None:
    pictures, others = (to_unit(random_batch(3, 16, seed=seed)) for seed in (0, 1))
    wanted = torch.zeros(3)
    for scaled in (lambda x: x, lambda x: torch.nn.functional.avg_pool2d(x, 2)):
        ours, theirs = (scaled((each * 127.5 + 127.5 - 127) / 128) for each in (pictures, others))
        cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=1)
        wanted += (2 - 2 * cosine).mean(dim=(1, 2))  # |a - b|² = 2 - 2 cos of vectors of length 1
    torch.testing.assert_close(halves(pictures, others), wanted)
    torch.testing.assert_close(halves(others, pictures), wanted)
    assert float(halves(pictures, pictures).abs().max()) == 0


def test_it_has_a_gradient_and_sees_pictures_of_any_shape() -> None:
    torch.manual_seed(0)
    seen: list[tuple[int, ...]] = []

    class Noted(EfficientNetLite):
        def maps(self, x: Tensor) -> list[Tensor]:
            seen.append(tuple(x.shape[2:]))
            return super().maps(x)

    distance = LiteDistance(Noted(VARIANTS["lite0"]).eval().requires_grad_(False), 32)
    for size in ((16, 24), (64, 96)):  # smaller ones are not enlarged
        pictures = to_unit(random_batch(2, 96))[:, :, : size[0], : size[1]].requires_grad_()
        distance(pictures, torch.zeros(2, 3, *size)).sum().backward()
        assert pictures.grad is not None
        assert float(pictures.grad.abs().amax(dim=(1, 2, 3)).min()) > 0
    assert seen == [(16, 24)] * 2 + [(32, 48)] * 2


def test_it_is_that_of_the_first_real_pictures_and_of_all_truths(tmp_path: Path, halves: LiteDistance) -> None:
    images = {domain: squares(folder(tmp_path / domain, domain, MOST + 3, side=16), 16) for domain in "ab"}
    tools = Tools(perceptual=halves, batch=5)
    half = Engine(lambda x: x / 2)
    figures = Evaluator(tools, ("ab",), images, {}).measure({"ab": half}).figures
    real = to_unit(torch.cat(list(images["b"].batches())))[:MOST]
    assert figures["identity_perceptual_b"] == pytest.approx(float(halves(real, real / 2).mean()), rel=1e-5)
    assert figures["identity_perceptual_b"] > 0
    assert "identity_perceptual_b" not in Evaluator(Tools(colours()), ("ab",), images, {}).measure({"ab": half}).figures
    fakes, truths = random_batch(9, 16, seed=2), random_batch(9, 16, seed=3)
    setup = Setup(Direction("a", "b"), tools)
    found = measure_batches(setup, [Measured(fakes, truth=truths)], setup.given | {"truth"}).figures
    wanted = halves(to_unit(fakes), to_unit(truths)).mean()
    assert found["perceptual"] == pytest.approx(float(wanted), rel=1e-5)


def test_other_features_have_none() -> None:
    assert perceptual_distance(colours()) is None
