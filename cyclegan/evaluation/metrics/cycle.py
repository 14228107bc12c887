"""Reconstruction error of the cycle, with and without noise on the translation.

A generator can hide the information that the other one needs in invisible detail of its translation (Chu et al. 2017,
https://arxiv.org/abs/1712.02950). Faint noise on the translation destroys that detail, and nothing visible. So noise
hardly changes the error of an honest cycle, and much increases that of one that hides information (Bashkirova et al.
2019, https://arxiv.org/abs/1908.01517).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cyclegan.evaluation.metrics.metric import Measured, Metric, Setup
from cyclegan.evaluation.metrics.paired import WINDOW, ssim
from cyclegan.system.pixels import to_unit

NOISE = 2.0  # standard deviation of the noise, in levels of 255

Translate = Callable[[Tensor], Tensor]  # NCHW in [-1, 1] -> the same


class CycleMetrics:
    """Means of the figures of the cycle over pictures, added batch by batch."""

    def __init__(self, *, noise: float = NOISE, seed: int = 0) -> None:
        self.noise = noise
        self._draws = torch.Generator().manual_seed(seed)
        self._count = 0
        self._l1 = self._l1_noisy = self._ssim = 0.0

    def add(self, real: Tensor, fake: Tensor, reverse: Translate) -> None:
        """Add real pictures and their translations, NCHW in [-1, 1], not rounded; `reverse` translates back."""
        noise = torch.randn(fake.shape, generator=self._draws).to(fake.device) * (self.noise / 127.5)
        clean, noisy = reverse(fake), reverse((fake + noise).clamp(-1, 1))
        self._l1 += float(l1_levels(clean, real).sum())
        self._l1_noisy += float(l1_levels(noisy, real).sum())
        if min(real.shape[-2:]) >= WINDOW:
            self._ssim += float(ssim(*((_exact(x) + 1) * 127.5 for x in (clean, real))).sum())
        else:
            self._ssim = float("nan")
        self._count += len(real)

    def figures(self) -> dict[str, float]:
        """`cycle_l1` in levels of 255, `cycle_ssim`, `cycle_noise_l1`, and the ratio of the two L1.

        `cycle_noise_ratio` is near 1 for an honest cycle, and several times that if the translation hides detail.
        """
        l1, noisy, similarity = (total / self._count for total in (self._l1, self._l1_noisy, self._ssim))
        # The ratio means nothing for a cycle that is exact up to rounding
        return {
            "cycle_l1": l1,
            "cycle_ssim": similarity,
            "cycle_noise_l1": noisy,
            "cycle_noise_ratio": noisy / max(l1, 1e-3),
        }


def l1_levels(pictures: Tensor, translated: Tensor) -> Tensor:
    """Mean absolute difference of NCHW pictures in [-1, 1], in levels of 255, one for each."""
    return (_exact(pictures) - _exact(translated)).abs().mean(dim=(1, 2, 3)) * 127.5


def _exact(x: Tensor) -> Tensor:
    """`x` in float64; on the CPU if it is on a Mac's GPU, which has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


class RoundTrip(Metric):
    """Figures of `CycleMetrics`, for generators in both directions."""

    needs = frozenset({"source", "forward", "reverse"})
    gives = ("cycle_l1", "cycle_ssim", "cycle_noise_l1", "cycle_noise_ratio")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        assert setup.reverse is not None
        self._reverse = setup.reverse.unit
        self._means = CycleMetrics(seed=setup.tools.seed)

    def add(self, batch: Measured) -> None:
        assert batch.inputs is not None
        assert batch.outputs is not None
        self._means.add(batch.inputs, batch.outputs, self._reverse)

    def figures(self) -> dict[str, float]:
        return self._means.figures()


class IdentityChange(Metric):
    """Mean change of real pictures of the target, which should stay unchanged."""

    needs = frozenset({"source", "real", "forward"})
    gives = ("identity_l1",)

    def add(self, batch: Measured) -> None:
        pass  # it translates pictures of the target instead

    def figures(self) -> dict[str, float]:
        real, forward = self.setup.real, self.setup.forward
        assert real is not None
        assert forward is not None
        units = (to_unit(batch).to(forward.device) for batch in real.batches(self.setup.tools.batch))
        return {"identity_l1": float(torch.cat([l1_levels(unit, forward.unit(unit)) for unit in units]).mean())}
