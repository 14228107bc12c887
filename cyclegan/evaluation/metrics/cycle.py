"""Reconstruction error of the cycle, with and without noise on the translation.

A generator can hide the information that the other one needs in invisible detail of its translation (Chu et al. 2017,
https://arxiv.org/abs/1712.02950). Faint noise on the translation destroys that detail, and nothing visible. So noise
hardly changes the error of an honest cycle, and much increases that of one that hides information (Bashkirova et al.
2019, https://arxiv.org/abs/1908.01517).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cyclegan.evaluation.metrics.metric import Evaluation, Measured, Metric, Setup
from cyclegan.evaluation.metrics.paired import WINDOW, ssim
from cyclegan.system.pixels import to_unit

NOISE = 2.0  # standard deviation of the noise, in levels of 255

Translate = Callable[[Tensor], Tensor]  # NCHW in [-1, 1] -> the same


class CycleMetrics:
    """Means of the figures of the cycle over pictures, added batch by batch."""

    def __init__(self, *, noise: float = NOISE, seed: int = 0) -> None:
        self.noise = noise
        self.parts: list[Tensor] = []
        self._draws = torch.Generator().manual_seed(seed)

    def add(self, real: Tensor, fake: Tensor, reverse: Translate) -> None:
        """Add real pictures and their translations, NCHW in [-1, 1], not rounded; `reverse` translates back."""
        self.parts.append(self.errors(real, fake, reverse))

    def errors(self, real: Tensor, fake: Tensor, reverse: Translate) -> Tensor:
        """L1, L1 with noise and SSIM of each of these pictures: N × 3, on the CPU."""
        noise = torch.randn(fake.shape, generator=self._draws).to(fake.device) * (self.noise / 127.5)
        clean, noisy = reverse(fake), reverse((fake + noise).clamp(-1, 1))
        l1, l1_noisy = l1_levels(clean, real), l1_levels(noisy, real)
        similarity = torch.full_like(l1, math.nan)
        if min(real.shape[-2:]) >= WINDOW:
            similarity = ssim(*((_exact(x) + 1) * 127.5 for x in (clean, real)))
        return torch.stack([l1, l1_noisy, similarity], dim=-1).cpu()

    def figures(self) -> dict[str, float]:
        """Figures of all pictures, see `cycle_figures`."""
        return {name: float(value) for name, value in cycle_figures(torch.cat(self.parts)).items()}


def cycle_figures(errors: Tensor) -> dict[str, Tensor]:
    """`cycle_l1` in levels of 255, `cycle_ssim`, `cycle_noise_l1`, and the ratio of the two L1, of N × 3 `errors`.

    `cycle_noise_ratio` is near 1 for an honest cycle, and several times that if the translation hides detail.
    """
    l1, noisy, similarity = errors.mean(dim=-2).unbind(-1)
    # The ratio means nothing for a cycle that is exact up to rounding
    ratio = noisy / l1.clamp(min=1e-3)
    return {"cycle_l1": l1, "cycle_ssim": similarity, "cycle_noise_l1": noisy, "cycle_noise_ratio": ratio}


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
        self._cycle = CycleMetrics(seed=setup.tools.seed)

    def add(self, batch: Measured) -> None:
        assert batch.inputs is not None
        assert batch.outputs is not None
        self.parts.append(self._cycle.errors(batch.inputs, batch.outputs, self._reverse))

    def summary(self, values: Tensor) -> Mapping[str, Tensor]:
        return cycle_figures(values)


class IdentityChange(Metric):
    """Mean change of real pictures of the target, which should stay unchanged."""

    needs = frozenset({"source", "real", "forward"})
    gives = ("identity_l1",)

    def add(self, batch: Measured) -> None:
        pass  # it translates pictures of the target instead

    def evaluation(self) -> Evaluation:
        real, forward = self.setup.real, self.setup.forward
        assert real is not None
        assert forward is not None
        units = (to_unit(batch).to(forward.device) for batch in real.batches(self.setup.tools.batch))
        return self.of_values(torch.cat([l1_levels(unit, forward.unit(unit)) for unit in units]))
