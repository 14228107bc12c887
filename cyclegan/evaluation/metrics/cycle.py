"""Distance of pictures from their way there and back, and its honesty.

A generator can write what the other one needs to know into invisible detail of its translation (Chu et al. 2017,
https://arxiv.org/abs/1712.02950). Faint noise on the translation destroys that, and nothing that can be seen. So an
honest cycle hardly notices the noise, and one that hides fails (Bashkirova et al. 2019,
https://arxiv.org/abs/1908.01517).
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
    """Means over pictures of the figures of the cycle; batches are added one by one."""

    def __init__(self, *, noise: float = NOISE, seed: int = 0) -> None:
        self.noise = noise
        self._draws = torch.Generator().manual_seed(seed)
        self._count = 0
        self._l1 = self._l1_noisy = self._ssim = 0.0

    def add(self, real: Tensor, fake: Tensor, back: Translate) -> None:
        """Take in real pictures and their translations, NCHW in [-1, 1] and not rounded; `back` translates back."""
        noise = torch.randn(fake.shape, generator=self._draws).to(fake.device) * (self.noise / 127.5)
        clean, noisy = back(fake), back((fake + noise).clamp(-1, 1))
        self._l1 += float(l1_levels(clean, real).sum())
        self._l1_noisy += float(l1_levels(noisy, real).sum())
        if min(real.shape[-2:]) >= WINDOW:
            self._ssim += float(ssim(*((_exact(x) + 1) * 127.5 for x in (clean, real))).sum())
        else:
            self._ssim = float("nan")
        self._count += len(real)

    def figures(self) -> dict[str, float]:
        """`cycle_l1` in levels of 255, `cycle_ssim`, `cycle_noise_l1`, and the ratio of the two L1.

        `cycle_noise_ratio` is near 1 for an honest cycle; several times that where the translation hides detail.
        """
        l1, noisy, likeness = (total / self._count for total in (self._l1, self._l1_noisy, self._ssim))
        # A cycle that is exact to rounding has no ratio to speak of
        return {
            "cycle_l1": l1,
            "cycle_ssim": likeness,
            "cycle_noise_l1": noisy,
            "cycle_noise_ratio": noisy / max(l1, 1e-3),
        }


def l1_levels(pictures: Tensor, translated: Tensor) -> Tensor:
    """Mean absolute difference of NCHW pictures in [-1, 1], in levels of 255, one for each."""
    return (_exact(pictures) - _exact(translated)).abs().mean(dim=(1, 2, 3)) * 127.5


def _exact(x: Tensor) -> Tensor:
    """In float64, which a Mac's GPU does not have."""
    return (x.cpu() if x.device.type == "mps" else x).double()


class RoundTrip(Metric):
    """The figures of `CycleMetrics`, where generators translate there and back."""

    needs = frozenset({"source", "forward", "back"})
    gives = ("cycle_l1", "cycle_ssim", "cycle_noise_l1", "cycle_noise_ratio")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        assert setup.back is not None
        self._back = setup.back.unit
        self._means = CycleMetrics(seed=setup.tools.seed)

    def add(self, batch: Measured) -> None:
        assert batch.inputs is not None
        assert batch.outputs is not None
        self._means.add(batch.inputs, batch.outputs, self._back)

    def figures(self) -> dict[str, float]:
        return self._means.figures()


class IdentityChange(Metric):
    """The mean change of real pictures of the target, which ought to stay as they are."""

    needs = frozenset({"source", "real", "forward"})
    gives = ("identity_l1",)

    def add(self, batch: Measured) -> None:
        pass  # it translates other pictures

    def figures(self) -> dict[str, float]:
        real, forward = self.setup.real, self.setup.forward
        assert real is not None
        assert forward is not None
        units = (to_unit(batch).to(forward.device) for batch in real.batches(self.setup.tools.batch))
        return {"identity_l1": float(torch.cat([l1_levels(unit, forward.unit(unit)) for unit in units]).mean())}
