"""Perceptual distance of pictures in the features of EfficientNet-Lite, with gradients.

As LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) without its learned weights: features of five resolutions
are scaled to length 1 at each pixel, and their squared differences are summed over channels, averaged over pixels, and
summed over resolutions. It is 0 for equal pictures and at most 20. Values compare for one network alone, and not with
those of LPIPS.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.efficientnet_lite import AT_ONCE, HALF_RANGE, MIDDLE, EfficientNetLite
from cyclegan.evaluation.features.scaling import scale
from cyclegan.evaluation.metrics.metric import Evaluation, Measured, Metric
from cyclegan.system.pixels import to_unit

# Real pictures of which the change is measured: each takes the network two passes
MOST = 32
PERCEPTUAL = "perceptual distance in the features, of length 1 at each pixel of five maps, without learned weights"


class LiteDistance(nn.Module):
    """Two batches of N × 3 × H × W in [-1, 1] -> N distances.

    The network sees pictures as they are, as in LPIPS, or with their shorter side scaled to `side` pixels if it is
    longer: enlarged, those of 64 pixels would cost twelve times as much.
    """

    def __init__(self, network: EfficientNetLite, side: int) -> None:
        super().__init__()
        self.network = network
        self.side = side

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        maps = zip(self._maps(pictures), self._maps(others), strict=True)
        each = [(ours - theirs).square().sum(dim=1).mean(dim=(1, 2)) for ours, theirs in maps]
        return torch.stack(each).sum(dim=0)

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        pictures = pictures.to(self.network.device)
        side = min(self.side, *pictures.shape[-2:])
        levels = (scale(pictures, side) + 1) * 127.5  # not rounded: steps have no gradient
        maps = self.network.maps((levels - MIDDLE) / HALF_RANGE)
        return [each / (each.square().sum(dim=1, keepdim=True) + 1e-10).sqrt() for each in maps]


def perceptual_distance(extractor: Extractor) -> LiteDistance | None:
    """The distance in the features of `extractor`; None if these are of another network."""
    return None if extractor.lite is None else LiteDistance(extractor.lite, extractor.lite.side)


class PerceptualChange(Metric):
    """Mean distance of the first 32 real pictures of the target from their translations, which should be equal."""

    needs = frozenset({"source", "real", "forward", "perceptual"})
    gives = ("identity_perceptual",)

    def add(self, batch: Measured) -> None:
        pass  # it translates pictures of the target instead

    def evaluation(self) -> Evaluation:
        real, forward, distance = self.setup.real, self.setup.forward, self.setup.tools.perceptual
        assert real is not None
        assert forward is not None
        assert distance is not None
        parts, left = list[Tensor](), MOST
        for batch in real.batches(self.setup.tools.batch):
            unit = to_unit(batch[:left]).to(forward.device)
            parts.append(_distances(distance, unit, forward.unit(unit)))
            left -= len(unit)
            if not left:
                break
        return self.of_values(torch.cat(parts))


class DistanceFromTruth(Metric):
    """Mean distance of translations from their truths."""

    needs = frozenset({"truth", "perceptual"})
    gives = ("perceptual",)

    def add(self, batch: Measured) -> None:
        assert batch.truth is not None
        assert self.setup.tools.perceptual is not None
        self.parts.append(_distances(self.setup.tools.perceptual, to_unit(batch.fake), to_unit(batch.truth)))


@torch.inference_mode()
def _distances(distance: LiteDistance, pictures: Tensor, others: Tensor) -> Tensor:
    """The distance of each picture from its partner: float64, on the CPU."""
    pairs = zip(pictures.split(AT_ONCE), others.split(AT_ONCE), strict=True)
    return torch.cat([distance(*pair) for pair in pairs]).double().cpu()
