"""Statistics of translations: diversity, copying, inversion, checkerboards, and what the judge says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cyclegan.evaluation.metrics.metric import ComparedMetric, Measured, Metric, Setup, ShareMetric
from cyclegan.evaluation.metrics.uncertainty import Interval, around, spread_over_halves
from cyclegan.images.channels import LUMA

# Two upsampling layers of stride 2 leave patterns that repeat every 2 and every 4 pixels
PERIODS = 4
SMALLEST = 16  # pixels: in smaller pictures these frequencies are most of the spectrum
_PAIRS = 1000  # features of which all pairs are compared


def diversity(features: Tensor) -> float:
    """Mean Euclidean distance over all pairs of the first 1000 of N × D features."""
    return _mean_of_pairs(_distances(features[:_PAIRS], features[:_PAIRS]))


def _mean_of_pairs(distances: Tensor) -> float:
    count = len(distances)
    assert count >= 2, count
    return float(distances.sum() / (count * (count - 1)))


def nearest(features: Tensor, references: Tensor) -> Tensor:
    """Euclidean distance of each of N × D features to the nearest of M × D `references`: N, float64."""
    return torch.cat([_distances(part, references).amin(dim=1) for part in features.split(256)])


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # Not by matrix products, whose rounding gives equal features a distance
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def luminance(pictures: Tensor) -> Tensor:
    """N × 3 × H × W -> N × H × W, float64."""
    weights = torch.tensor(LUMA, dtype=torch.float64, device=pictures.device)
    return torch.einsum("nchw,c->nhw", pictures.double(), weights)


def luminance_correlation(pictures: Tensor, others: Tensor) -> Tensor:
    """Pearson correlation of the luminance of N × 3 × H × W pictures with that of `others`: N, float64.

    1: light stays light; -1: inverted; 0 also if one of the two has a single luminance.
    """
    x, y = (luminance(images).flatten(1) for images in (pictures, others))
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    scale = x.square().sum(dim=1).sqrt() * y.square().sum(dim=1).sqrt()
    return torch.where(scale > 0, (x * y).sum(dim=1) / scale.clamp(min=1e-12), 0.0)


def checkerboard(pictures: Tensor) -> Tensor | None:
    """Share of the luminance's energy, without its mean, in patterns of 2 and 4 pixels: N, float64.

    Transposed convolutions leave such patterns (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard).
    It counts the frequencies with two multiples of a quarter as components, except (0, 0), and their neighbours, after
    a Hann window. None for pictures of less than 16 pixels.
    """
    height, width = (side - side % PERIODS for side in pictures.shape[-2:])
    if min(height, width) < SMALLEST:
        return None
    x = luminance(pictures)[:, :height, :width]
    window = torch.outer(*(torch.hann_window(side, dtype=torch.float64) for side in (height, width))).to(x.device)
    x = (x - (x * window).mean(dim=(1, 2), keepdim=True) / window.mean()) * window
    energy = torch.fft.fft2(x).abs().square()
    quarters, mean = (torch.outer(_near(height, parts), _near(width, parts)) for parts in (PERIODS, 1))
    total = energy.sum(dim=(1, 2))
    share = energy[:, (quarters & ~mean).to(x.device)].sum(dim=1) / total.clamp(min=1e-12)
    return torch.where(total > 1e-6, share, 0.0)


def _near(length: int, parts: int) -> Tensor:
    """Mask of the frequencies 0, 1/parts, 2/parts … of `length`, with neighbours, to which the window spreads them."""
    places = torch.arange(parts) * length // parts
    marked = torch.zeros(length, dtype=torch.bool)
    marked[(places[:, None] + torch.tensor([-1, 0, 1])) % length] = True
    return marked


class Diversity(ComparedMetric):
    """`diversity` of the translations, of real pictures of the target and of the inputs."""

    needs = frozenset({"real", "extractor"})
    gives = ("diversity",)

    def summary(self, features: Tensor) -> dict[str, float]:
        return {"diversity": diversity(features)}

    def uncertainty(self, features: Tensor, figures: Mapping[str, float]) -> Mapping[str, Interval]:
        distances = _distances(features[:_PAIRS], features[:_PAIRS])
        spread = spread_over_halves(
            lambda rows: _mean_of_pairs(distances[rows][:, rows]),
            torch.arange(len(distances)),
            seed=self.setup.tools.seed,
        )
        return {"diversity": around(figures["diversity"], spread, floor=0)}


class NearestTraining(ComparedMetric):
    """The median distance to the nearest training picture, of translations and of held-out real pictures."""

    needs = frozenset({"real", "training", "extractor"})
    gives = ("nearest",)
    beside: ClassVar = {"_real": "real"}

    def add(self, batch: Measured) -> None:
        self.parts.append(self._nearest(batch.features))

    def values(self, role: str) -> Tensor | None:
        features = self.setup.features(role)
        return None if features is None else self._nearest(features)

    def summary(self, values: Tensor) -> Mapping[str, Tensor]:
        return {"nearest": values.median(dim=-1).values}

    def _nearest(self, features: Tensor) -> Tensor:
        training = self.setup.features("training")
        assert training is not None
        return nearest(features, training)


class TargetShare(ShareMetric):
    """Shares of translations, real pictures of the target and inputs taken for the target, and for neither domain."""

    needs = frozenset({"real", "classifier"})
    gives = ("judge", "neither")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        assert setup.tools.classifier is not None
        self._judge = setup.tools.classifier

    def add(self, batch: Measured) -> None:
        self.parts.append(self._judge.verdict(batch.fake))

    def values(self, role: str) -> Tensor | None:
        return self.setup.of_role(role, self._judge.verdict)

    def summary(self, verdicts: Tensor) -> dict[str, float]:
        target = self._judge.share(verdicts, self.setup.direction.target)
        return {"judge": target, "neither": self._judge.share(verdicts, None)}


class LuminanceCorrelation(Metric):
    """The mean of `luminance_correlation` of inputs and translations."""

    needs = frozenset({"source"})
    gives = ("luminance_correlation",)

    def add(self, batch: Measured) -> None:
        assert batch.source is not None
        self.parts.append(luminance_correlation(batch.source, batch.fake))


class CheckerboardEnergy(ComparedMetric):
    """The mean of `checkerboard` of translations and of real pictures; none for pictures that are too small."""

    needs = frozenset({"real"})
    gives = ("checkerboard",)
    beside: ClassVar = {"_real": "real"}

    def add(self, batch: Measured) -> None:
        self.parts.append(_checkerboard(batch.fake))

    def values(self, role: str) -> Tensor | None:
        return self.setup.of_role(role, _checkerboard)


def _checkerboard(pictures: Tensor) -> Tensor:
    shares = checkerboard(pictures)
    return torch.empty(0) if shares is None else shares
