"""Distances of two sets of features: the Fréchet distance (FID) and the kernel distance (KID).

Both compare distributions of features, not single pictures; both are meaningful only beside the same figure for other
sets of the same size, with the same features. Everything is computed in float64.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics.metric import ComparedMetric

SUBSETS = 100
SUBSET_SIZE = 1000  # both as in the paper of KID


class FeatureMoments(NamedTuple):
    """Mean and unbiased covariance of features."""

    mean: Tensor
    covariance: Tensor  # D × D

    @classmethod
    def of(cls, features: Tensor) -> FeatureMoments:
        """Moments of N × D features; `UsageError` for fewer than two."""
        _refuse_too_few(len(features))
        features = features.to("cpu", torch.float64)
        mean = features.mean(dim=0)
        centred = features - mean  # first, so that no digits are lost if the mean is large beside the spread
        return cls(mean, centred.T @ centred / (len(features) - 1))


def frechet(first: FeatureMoments, second: FeatureMoments) -> float:
    """The Fréchet distance of two Gaussians with these moments (Heusel et al. 2017, https://arxiv.org/abs/1706.08500).

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½). The trace of the root is that of (C₁^½ C₂ C₁^½)^½, which is symmetric, so
    that its eigenvalues are real, and singular covariances, from fewer pictures than dimensions, do no harm.
    """
    c1, c2 = first.covariance, second.covariance
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    gap = (first.mean - second.mean).square().sum()
    return max(0.0, float(gap + c1.trace() + c2.trace() - 2 * cross))


class KernelDistance(NamedTuple):
    """KID with the standard deviation of `kernel_distance`."""

    mean: float
    std: float


def kernel_distance(fake: Tensor, real: Tensor, *, seed: int = 0) -> KernelDistance:
    """KID of two sets of N × D features (Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401).

    Of sets with more than 1000 each, mean and standard deviation over 100 pairs of subsets of 1000, as in the paper.
    Subsets of smaller sets would be the sets themselves, with a false standard deviation of 0. So for these the
    distance is that of all features, and the standard deviation is over 100 pairs of random halves, which for a mean
    is its standard error. Raises `UsageError` for fewer than two.
    """
    size = min(len(fake), len(real))
    _refuse_too_few(size)
    if size > SUBSET_SIZE:
        return over_subsets(fake, real, SUBSET_SIZE, seed=seed)
    whole = mmd2(fake, real)
    if size < 4:  # a half would be a single feature, of which there is no distance
        return KernelDistance(whole, math.nan)
    generator = torch.Generator().manual_seed(seed)
    halves = [
        mmd2(*(_drawn(features, len(features) // 2, generator) for features in (fake, real))) for _ in range(SUBSETS)
    ]
    return KernelDistance(whole, _spread(halves))


def over_subsets(fake: Tensor, real: Tensor, size: int, *, subsets: int = SUBSETS, seed: int = 0) -> KernelDistance:
    """Mean and (population) standard deviation of `mmd2` over `subsets` pairs of random subsets of `size`."""
    generator = torch.Generator().manual_seed(seed)
    # Real features are drawn first, as in torchmetrics
    pairs = ([_drawn(features, size, generator) for features in (real, fake)] for _ in range(subsets))
    values = [mmd2(some_fake, some_real) for some_real, some_fake in pairs]
    return KernelDistance(math.fsum(values) / subsets, _spread(values))


def mmd2(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under the kernel (xᵀy / D + 1)³.

    It is zero in the mean for equal distributions, whatever the number of features, and so sometimes negative.
    """
    n, m = len(x), len(y)
    assert min(n, m) >= 2, (n, m)
    x, y = (features.to("cpu", torch.float64) for features in (x, y))
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def _refuse_too_few(count: int) -> None:
    if count < 2:
        raise UsageError(
            f"FID and KID compare sets of pictures, and {'there is only one' if count else 'there are none'}; "
            "give at least two of each, better hundreds"
        )


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _drawn(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:count]]


def _spread(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


class FeatureDistances(ComparedMetric):
    """FID and KID of translations to held-out real pictures of the target.

    `_real` is the distance of training pictures of the target: the level that real pictures reach. `_source` is that of
    the untranslated inputs.
    """

    needs = frozenset({"real", "extractor"})
    gives = ("fid", "kid", "kid_std")
    beside: ClassVar = {"_real": "training", "_source": "source"}

    def summary(self, features: Tensor) -> dict[str, float]:
        real = self.setup.features("real")
        assert real is not None
        kid = kernel_distance(features, real, seed=self.setup.tools.seed)
        moments = self.setup.once("moments of real", lambda: FeatureMoments.of(real))
        return {"fid": frechet(FeatureMoments.of(features), moments), "kid": kid.mean, "kid_std": kid.std}
