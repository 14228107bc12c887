"""What is said of outputs alone, on outputs of which it is known."""

from __future__ import annotations

import pytest
import torch

from cyclegan.evaluation.metrics.output_statistics import checkerboard, diversity, luminance_correlation, nearest
from tests.support.pictures import random_batch


def test_outputs_all_alike_have_no_diversity_and_others_the_mean_distance_of_pairs() -> None:
    assert diversity(torch.ones(5, 3)) == 0
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert diversity(points) == pytest.approx(2 * 5 / 3)


def test_the_nearest_of_a_copied_picture_is_at_no_distance() -> None:
    training = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    other = torch.full((1, 4), 100.0)
    found = nearest(torch.cat([training[250:], other]), training)
    assert float(found[:-1].max()) == 0
    assert float(found[-1]) == pytest.approx(float((other - training).norm(dim=1).min()))


def test_luminance_correlates_with_itself_with_its_inverse_and_with_nothing() -> None:
    x = random_batch(2, 64)
    torch.testing.assert_close(luminance_correlation(x, x), torch.ones(2).double())
    torch.testing.assert_close(luminance_correlation(x, 255 - x), -torch.ones(2).double())
    torch.testing.assert_close(luminance_correlation(x, x // 2 + 50), torch.ones(2).double(), atol=1e-3, rtol=0)
    assert float(luminance_correlation(x, random_batch(2, 64, seed=9)).abs().max()) < 0.1
    assert luminance_correlation(x, torch.full_like(x, 7)).tolist() == [0, 0]


@pytest.mark.parametrize("period", [2, 4])
def test_a_planted_checkerboard_is_found_whatever_it_lies_on(period: int) -> None:
    ramp = torch.linspace(60, 190, 64).expand(1, 3, 64, 64)
    place = torch.arange(64)
    board = ((place[:, None] // (period // 2) + place // (period // 2)) % 2 * 2 - 1) * 10.0
    plain, planted = checkerboard(ramp), checkerboard(ramp + board)
    assert plain is not None
    assert planted is not None
    assert float(plain) < 1e-3
    assert float(planted) > 20 * float(plain)
    rows = ((place // (period // 2)) % 2 * 2 - 1)[:, None] * 10.0
    striped = checkerboard(ramp + rows)
    assert striped is not None
    assert float(striped) > 20 * float(plain)


def test_white_noise_has_the_share_of_the_frequencies_that_are_counted() -> None:
    found = checkerboard(random_batch(40, 64))
    assert found is not None
    # 15 quarters, each with its eight neighbours, of 64²
    assert float(found.mean()) == pytest.approx(15 * 9 / 64**2, rel=0.1)
    assert checkerboard(random_batch(2, 15)) is None
    assert checkerboard(torch.full((1, 3, 32, 32), 9)) == 0
    odd, even = checkerboard(random_batch(2, 67)), checkerboard(random_batch(2, 67)[:, :, :64, :64])
    assert odd is not None
    torch.testing.assert_close(odd, even)
