"""Distances of two sets of features: the Fréchet distance (FID) and the kernel distance (KID).

Both compare distributions of features, not single pictures; both are meaningful only beside the same figure for other
sets of the same size, with the same features. Everything is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics.metric import ComparedMetric
from cyclegan.evaluation.metrics.uncertainty import (
    HALVES,
    Interval,
    around,
    deviation,
    drawn,
    spread_over_halves,
)

SUBSETS = 100
SUBSET_SIZE = 1000  # both as in the paper of KID
_WORK = 5 * 10**9  # multiplications that the interval of FID may cost, as long as there are ten halves


class FeatureMoments(NamedTuple):
    """Mean of features, and a root of their unbiased covariance.

    Any matrix R with RᵀR = C serves: the centred features of fewer pictures than dimensions, the triangle of a QR
    decomposition of more, so that it never has more than D rows.
    """

    mean: Tensor
    root: Tensor  # rows × D

    @classmethod
    def of(cls, features: Tensor) -> FeatureMoments:
        """Moments of N × D features; `UsageError` for fewer than two."""
        _refuse_too_few(len(features))
        features = features.to("cpu", torch.float64)
        mean = features.mean(dim=0)
        root = (features - mean) / math.sqrt(len(features) - 1)
        return cls(mean, torch.linalg.qr(root, mode="r").R if len(root) > root.shape[1] else root)

    @property
    def covariance(self) -> Tensor:
        """D × D."""
        return self.root.T @ self.root


def frechet(first: FeatureMoments, second: FeatureMoments) -> float:
    """The Fréchet distance of two Gaussians with these moments (Heusel et al. 2017, https://arxiv.org/abs/1706.08500).

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½). With roots of the covariances the trace of that root is the sum of the
    singular values of R₁ R₂ᵀ, a matrix of pictures by pictures where these are fewer than dimensions: milliseconds for
    a hundred, where a root of D × D takes seconds. Singular covariances do no harm.
    """
    cross = torch.linalg.svdvals(first.root @ second.root.T).sum()
    gap = (first.mean - second.mean).square().sum()
    return max(0.0, float(gap + first.root.square().sum() + second.root.square().sum() - 2 * cross))


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
    return KernelDistance(whole, spread_over_halves(mmd2, fake, real, seed=seed))


def over_subsets(fake: Tensor, real: Tensor, size: int, *, subsets: int = SUBSETS, seed: int = 0) -> KernelDistance:
    """Mean and (population) standard deviation of `mmd2` over `subsets` pairs of random subsets of `size`."""
    generator = torch.Generator().manual_seed(seed)
    # Real features are drawn first, as in torchmetrics
    pairs = ([drawn(features, size, generator) for features in (real, fake)] for _ in range(subsets))
    values = [mmd2(some_fake, some_real) for some_real, some_fake in pairs]
    return KernelDistance(math.fsum(values) / subsets, deviation(values))


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


def affordable_halves(fake: int, real: int, dimension: int) -> int:
    """Number of halves over which FID is computed: 100 of a few hundred pictures, and at least 10.

    That takes a second or so for up to 1000 pictures, and for tens of thousands some minutes.
    """
    rows = [min(count // 2, dimension) for count in (fake, real)]
    work = math.prod(rows) * (dimension + 10 * min(rows))
    return min(HALVES, max(10, _WORK // max(work, 1)))


def _error_of_subsets(fake: int, real: int) -> float:
    """Standard error of KID, in standard deviations over the subsets of `kernel_distance`.

    Subsets of m of n vary by 1/m - 1/n around the whole, and the whole by 1/n around the truth, where a half varies by
    as much as the whole. n is the harmonic mean of the two numbers, as if both sets varied alike.
    """
    if min(fake, real) <= SUBSET_SIZE:
        return 1.0
    count = 2 / (1 / fake + 1 / real)
    return math.sqrt(SUBSET_SIZE / (count - SUBSET_SIZE))


def _frechet_of_features(fake: Tensor, real: Tensor) -> float:
    return frechet(FeatureMoments.of(fake), FeatureMoments.of(real))


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

    def uncertainty(self, features: Tensor, figures: Mapping[str, float]) -> Mapping[str, Interval]:
        real = self.setup.features("real")
        assert real is not None
        error = figures["kid_std"] * _error_of_subsets(len(features), len(real))
        halves = affordable_halves(len(features), len(real), features.shape[1])
        spread = spread_over_halves(_frechet_of_features, features, real, seed=self.setup.tools.seed, halves=halves)
        return {"fid": around(figures["fid"], spread, floor=0), "kid": around(figures["kid"], error)}
