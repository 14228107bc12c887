"""FID and KID: closed forms, the same as torchmetrics, and independent of how the features came."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics import fid_kid
from cyclegan.evaluation.metrics.fid_kid import (
    FeatureMoments,
    affordable_halves,
    frechet,
    kernel_distance,
    mmd2,
    over_subsets,
)


class Flat(nn.Module):
    """An extractor for torchmetrics: pixels as they are, in float64."""

    num_features = 12

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.double().flatten(1) / 255


def features(count: int, seed: int, shift: float = 0.0, dimension: int = 5) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=draws, dtype=torch.float64) + shift


def exactly(mean: Tensor, covariance: Tensor, count: int = 40) -> FeatureMoments:
    """Moments with this mean and covariance, by way of features that have them."""
    white = features(count, 1, dimension=len(mean))
    white = white - white.mean(dim=0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(white.T @ white / (count - 1))).T
    return FeatureMoments.of(white @ torch.linalg.cholesky(covariance).T + mean)


def pictures(count: int, seed: int, high: int = 256) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, (count, 3, 2, 2), generator=draws, dtype=torch.uint8)


def test_the_frechet_distance_of_gaussians_is_its_closed_form() -> None:
    first, second = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 16.0]).double()
    gap = torch.tensor([1.0, -2.0, 0.5]).double()
    # Diagonal covariances commute: |m|² + Σ (√a - √b)²
    wanted = float(gap.square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    found = frechet(exactly(gap * 0, torch.diag(first)), exactly(gap, torch.diag(second)))
    assert found == pytest.approx(wanted, rel=1e-9)
    turned = torch.linalg.qr(features(3, 2, dimension=3))[0]
    found = frechet(
        exactly(gap * 0, turned @ torch.diag(first) @ turned.T), exactly(gap, turned @ torch.diag(second) @ turned.T)
    )
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_set_has_no_frechet_distance_from_itself_even_with_fewer_pictures_than_features() -> None:
    few = FeatureMoments.of(features(4, 0, dimension=20))
    assert frechet(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet(few, FeatureMoments.of(features(4, 0, shift=1.0, dimension=20))) == pytest.approx(20, rel=1e-6)


def by_eigenvalues(first: FeatureMoments, second: FeatureMoments) -> float:
    """FID by the root of a matrix of features by features."""
    values, vectors = torch.linalg.eigh(first.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second.covariance @ root).clamp(min=0).sqrt().sum()
    gap = (first.mean - second.mean).square().sum()
    return float(gap + first.covariance.trace() + second.covariance.trace() - 2 * cross)


@pytest.mark.parametrize("counts", [(12, 9), (30, 80), (200, 7), (200, 300)])
def test_fewer_pictures_than_features_have_the_fid_of_the_root_of_their_covariances(counts: tuple[int, int]) -> None:
    mixed = features(40, 5, dimension=40)
    x, y = (features(count, count, dimension=40) @ mixed + 50 for count in counts)
    moments = FeatureMoments.of(x), FeatureMoments.of(y + 1)
    assert all(len(one.root) == min(count, 40) for one, count in zip(moments, counts, strict=True))
    assert frechet(*moments) == pytest.approx(by_eigenvalues(*moments), rel=1e-6)


def test_moments_are_those_of_torch_in_any_order_even_far_from_zero() -> None:
    x = features(50, 3, shift=1e6)
    shuffled = x[torch.randperm(50, generator=torch.Generator().manual_seed(0))]
    for found in (FeatureMoments.of(x), FeatureMoments.of(shuffled)):
        torch.testing.assert_close(found.mean, x.mean(dim=0), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.covariance, torch.cov(x.T), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_fid_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = pictures(60, 0), pictures(50, 1, high=200)
    theirs = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    for part in real.split(25):
        theirs.update(part, real=True)
    theirs.update(fake, real=False)
    ours = frechet(FeatureMoments.of(Flat()(fake)), FeatureMoments.of(Flat()(real)))
    assert ours == pytest.approx(float(theirs.compute()), abs=1e-6)
    assert ours > 0.05


def test_kid_over_subsets_is_that_of_torchmetrics_draw_by_draw() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = pictures(60, 0), pictures(50, 1, high=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it keeps the features
        theirs = KernelInceptionDistance(feature=Flat(), subsets=20, subset_size=30)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    torch.manual_seed(5)  # theirs draws from the global generator
    mean, std = theirs.compute()
    ours = over_subsets(Flat()(fake), Flat()(real), 30, subsets=20, seed=5)
    assert ours.mean == pytest.approx(float(mean), abs=1e-9)
    assert ours.std == pytest.approx(float(std), abs=1e-9)
    assert ours.std > 0


def test_the_kernel_distance_is_the_sum_over_pairs_that_the_paper_writes() -> None:
    x, y = features(4, 0, dimension=3), features(5, 1, shift=0.5, dimension=3)

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_x = sum(kernel(x[i], x[j]) for i in range(4) for j in range(4) if i != j) / 12
    within_y = sum(kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(kernel(a, b) for a in x for b in y) / 20
    assert mmd2(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_kid_is_unbiased_where_fid_is_not() -> None:
    kids, fids = [], []
    for seed in range(40):
        x, y = features(20, 2 * seed), features(20, 2 * seed + 1)
        kids.append(mmd2(x, y))
        fids.append(frechet(FeatureMoments.of(x), FeatureMoments.of(y)))
    error = torch.tensor(kids).std() / math.sqrt(len(kids))
    assert abs(sum(kids) / len(kids)) < 3 * error
    assert min(fids) > 0.1  # for equal distributions


@pytest.mark.slow
def test_small_sets_get_a_deviation_that_is_about_the_spread_between_repetitions() -> None:
    found = [kernel_distance(features(60, 2 * s), features(60, 2 * s + 1, shift=1.0)) for s in range(30)]
    spread = float(torch.tensor([kid.mean for kid in found]).std())
    said = sum(kid.std for kid in found) / len(found)
    assert 0.6 < said / spread < 1.6, (said, spread)
    x, y = features(60, 0), features(60, 1, shift=1.0)
    assert found[0].mean == mmd2(x, y)
    assert kernel_distance(x, y) == found[0]  # seeded
    assert kernel_distance(x, y, seed=1).std != found[0].std


@pytest.mark.slow
def test_large_sets_are_compared_by_subsets_of_a_thousand() -> None:
    x, y = features(1100, 0, dimension=2), features(1200, 1, dimension=2)
    assert kernel_distance(x, y, seed=3) == over_subsets(x, y, 1000, subsets=100, seed=3)


@pytest.mark.slow
def test_the_standard_error_of_kid_over_subsets_is_the_spread_between_repetitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fid_kid, "SUBSET_SIZE", 20)
    found = [kernel_distance(features(80, 2 * s), features(50, 2 * s + 1, shift=1.0)) for s in range(40)]
    spread = float(torch.tensor([kid.mean for kid in found]).std())
    said = sum(kid.std for kid in found) / len(found) * fid_kid._error_of_subsets(80, 50)
    assert 0.6 < said / spread < 1.6, (said, spread)
    assert fid_kid._error_of_subsets(15, 90) == 1  # halves


def test_the_interval_of_fid_takes_fewer_halves_where_each_costs_more() -> None:
    assert affordable_halves(128, 128, 1280) == affordable_halves(4, 4, 1) == 100
    assert affordable_halves(50_000, 50_000, 2048) == 10
    assert 10 < affordable_halves(500, 500, 1280) < 100


@pytest.mark.parametrize("count", [0, 1])
def test_one_picture_is_no_set(count: int) -> None:
    with pytest.raises(UsageError, match="at least two"):
        kernel_distance(features(count, 0), features(9, 1))
    with pytest.raises(UsageError, match="at least two"):
        frechet(FeatureMoments.of(features(count, 0)), FeatureMoments.of(features(9, 1)))
    assert math.isnan(kernel_distance(features(3, 0), features(9, 1)).std)  # of halves with a single picture
