"""The cycle: exact where it can be worked out, and dishonest where a signal is hidden."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cyclegan.evaluation.metrics.cycle import CycleMetrics, l1_levels


def smooth(count: int = 4, side: int = 32) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=draws) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def hidden(x: Tensor) -> Tensor:
    """A grey picture in which x is written at a hundredth of its strength."""
    return x / 100


def revealed(fake: Tensor) -> Tensor:
    return (fake * 100).clamp(-1, 1)


def test_a_perfect_cycle_comes_back_and_one_that_is_off_by_a_constant_by_that_constant() -> None:
    real = smooth()
    perfect, off = CycleMetrics(noise=0), CycleMetrics(noise=0)
    perfect.add(real, -real, torch.neg)
    off.add(real, -real, lambda fake: -fake + 4 / 127.5)
    assert perfect.figures() == {"cycle_l1": 0, "cycle_ssim": 1, "cycle_noise_l1": 0, "cycle_noise_ratio": 0}
    assert off.figures()["cycle_l1"] == pytest.approx(4, rel=1e-5)
    assert off.figures()["cycle_noise_ratio"] == pytest.approx(1)
    assert 0.8 < off.figures()["cycle_ssim"] < 1


def test_noise_tells_a_cycle_that_hides_from_one_that_does_not() -> None:
    real = smooth()
    lossy = torch.nn.functional.avg_pool2d
    honest, dishonest = CycleMetrics(), CycleMetrics()

    def blurred(x: Tensor) -> Tensor:
        return lossy(torch.nn.functional.pad(x, (6, 6, 6, 6), mode="reflect"), 13, stride=1)

    honest.add(real, -real, lambda fake: -blurred(fake))
    dishonest.add(real, hidden(real), lambda fake: blurred(revealed(fake)) * 0 + revealed(fake) * 0.95)
    assert honest.figures()["cycle_noise_ratio"] < 1.1
    assert dishonest.figures()["cycle_noise_ratio"] > 5


def test_batches_of_any_size_give_the_same_and_noise_is_seeded() -> None:
    real = smooth()
    once, twice, other = CycleMetrics(seed=1), CycleMetrics(seed=1), CycleMetrics(seed=2)
    once.add(real, -real, torch.neg)
    for part in real.split(1):
        twice.add(part, -part, torch.neg)
    other.add(real, -real, torch.neg)
    assert once.figures() == pytest.approx(twice.figures())
    assert once.figures() != other.figures()
    # The mean size of Gaussian noise of σ 2 is 2 √(2/π)
    assert once.figures()["cycle_noise_l1"] == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.05)


def test_pictures_smaller_than_a_window_have_no_ssim() -> None:
    marks = CycleMetrics()
    marks.add(smooth(side=8), smooth(side=8), torch.neg)
    assert math.isnan(marks.figures()["cycle_ssim"])
    assert marks.figures()["cycle_l1"] > 0


def test_the_l1_levels_is_the_mean_difference_in_levels() -> None:
    x = smooth()
    torch.testing.assert_close(l1_levels(x, x + 2 / 127.5), torch.full((4,), 2.0).double(), atol=1e-4, rtol=0)
