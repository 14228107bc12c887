"""Pixelwise distances of translations from their truths.

All take uint8 pictures, height × width × 3, of one size, or floats in [0, 255]; levels are those of 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics.demo_truth import psnr
from cyclegan.evaluation.metrics.metric import THRESHOLD, Measured, Metric, Pixels

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
PEAK = 255.0


def ssim(pictures: Tensor, others: Tensor) -> Tensor:
    """Structural similarity of N × C × H × W pictures in [0, 255], one figure for each: float64, 1 where equal.

    Wang et al. 2004: Gaussian windows of 11 × 11 with σ 1.5, K₁ 0.01, K₂ 0.03, the mean over all windows that lie
    within the picture; for colours the mean over red, green and blue, where the paper uses luminance alone. Raises
    `UsageError` for pictures smaller than a window.
    """
    assert pictures.shape == others.shape, (pictures.shape, others.shape)
    if min(pictures.shape[-2:]) < WINDOW:
        raise UsageError(
            f"SSIM needs pictures of at least {WINDOW} × {WINDOW} pixels, and one is "
            f"{pictures.shape[-1]}×{pictures.shape[-2]}; compare larger ones"
        )
    x, y = pictures.double(), others.double()
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return similarity.mean(dim=(1, 2, 3))


def _windowed(x: Tensor) -> Tensor:
    """Gaussian mean around each pixel with a whole window, by columns and then by rows."""
    place = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(place**2) / (2 * SIGMA**2)).to(x.device)
    weights /= weights.sum()
    channels = x.shape[1]
    down = weights[:, None].expand(channels, 1, WINDOW, 1)
    across = weights[None, :].expand(channels, 1, 1, WINDOW)
    return F.conv2d(F.conv2d(x, down, groups=channels), across, groups=channels)


def paired_scores(picture: Pixels, truth: Pixels, threshold: float = THRESHOLD) -> dict[str, float]:
    """`psnr` in dB, `ssim`, `l1` and `rmse` in levels of 255, and `within`.

    `within` is the share of pixels whose channels differ by at most `threshold` levels in the mean.
    """
    difference = np.abs(picture.astype(np.float64) - truth)
    both = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] for image in (picture, truth)]
    return {
        "psnr": psnr(picture, truth),
        "ssim": float(ssim(*both)),
        "l1": float(difference.mean()),
        "rmse": float(np.sqrt((difference**2).mean())),
        "within": float((difference.mean(axis=2) <= threshold).mean()),
    }


def matched(names: Sequence[str], candidates: Sequence[str], folder: Path, option: str) -> list[str]:
    """Match each of `names` to the one of `candidates` in `folder` that differs at most in its suffix.

    Names are relative. `UsageError`, naming the option, for no match and for candidates that differ only in suffix.
    """
    found: dict[str, str] = {}
    for name in candidates:
        if (other := found.setdefault(_stem(name), name)) != name:
            raise UsageError(f"{option}: {folder} has both {other} and {name}; keep one of them")
    missing = [name for name in names if _stem(name) not in found]
    if missing:
        raise UsageError(
            f"{option}: {folder} lacks {len(missing)} of {len(names)} pictures, first {missing[0]}; partners have "
            "the same relative name, and any suffix"
        )
    return [found[_stem(name)] for name in names]


def _stem(name: str) -> str:
    head, _, leaf = name.rpartition("/")
    return f"{head}/{leaf.rpartition('.')[0]}"


class PairedMetrics(Metric):
    """Means over pictures of the figures of `paired_scores`."""

    needs = frozenset({"truth"})
    gives = ("psnr", "ssim", "l1", "rmse", "within")

    def add(self, batch: Measured) -> None:
        for pair in batch.pairs():
            scores = paired_scores(*pair, self.setup.tools.threshold)
            self.parts.append(torch.tensor([[scores[name] for name in self.gives]], dtype=torch.float64))

    def summary(self, values: Tensor) -> Mapping[str, Tensor]:
        return dict(zip(self.gives, values.mean(dim=-2).unbind(-1), strict=True))
