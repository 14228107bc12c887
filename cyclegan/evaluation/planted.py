"""Planted sets: real pictures changed in known ways, in place of translations.

Each is a failure that a generator is known for, or a set of real pictures whose place in an order is known. `PLANTED`
has them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

NOTHING, COLOUR, BLUR, PATCHES = "nothing", "a little colour", "blur", "patches"
# In steps of about 2.5: hardly seen, plain to see, and louder than fine detail. Deviation in levels of 255
LEVELS = {"weak": 10.0, "medium": 25.0, "strong": 60.0}
SPECKLES = tuple(f"{strength} speckle" for strength in LEVELS)
NOISES = tuple(f"{strength} white noise" for strength in LEVELS)
PERIODS = (2, 4)  # pixels: of two upsampling layers of stride 2
CHECKERBOARDS = tuple(f"checkerboard of {period}" for period in PERIODS)
FAILURES = (COLOUR, *SPECKLES, *NOISES, BLUR, *CHECKERBOARDS, PATCHES)
REAL, HALF, ONE, TRAINING = "real", "half real", "one picture", "training pictures"

SHIFT = 0.3  # of the way to the target's colours
ENERGY = 24.0  # deviation of a checkerboard, in levels: seen at once
BLUR_SHARE = 1 / 32  # deviation of the blur, as a share of the side: outlines stay, coats do not
PATCH_SHARE, PATCH_COUNT = 1 / 4, 4  # side of a patch, as a share of the side; together they cover up to a quarter


@dataclass(frozen=True)
class Material:
    """Equal numbers of pictures, uint8 N × 3 × S × S: of the source, and held-out and training ones of the target."""

    source: Tensor
    target: Tensor
    training: Tensor
    seed: int = 0

    @property
    def draws(self) -> torch.Generator:
        """The same draws for each set, so that strengths differ in nothing else."""
        return torch.Generator().manual_seed(self.seed)


def _bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def with_colour(material: Material) -> Tensor:
    """Inputs with each channel's mean and deviation moved a part of the way to those of the target."""
    x, y = material.source.float(), material.target.float()
    (mean, spread), (wanted_mean, wanted_spread) = (
        (z.mean(dim=(0, 2, 3), keepdim=True), z.std(dim=(0, 2, 3), keepdim=True)) for z in (x, y)
    )
    scaled = (x - mean) / spread.clamp(min=1e-6) * torch.lerp(spread, wanted_spread, SHIFT)
    return _bytes(scaled + torch.lerp(mean, wanted_mean, SHIFT))


def with_noise(material: Material, level: float) -> Tensor:
    """Inputs with white noise, another in each channel."""
    x = material.source.float()
    return _bytes(x + level * torch.randn(x.shape, generator=material.draws))


def with_speckle(material: Material, level: float) -> Tensor:
    """Inputs with coloured blobs of 2 to 8 pixels, as an untrained decoder makes them of random maps."""
    x, draws = material.source.float(), material.draws
    count, channels, *sides = x.shape
    blobs = torch.zeros_like(x)
    for period in PERIODS:
        knots = torch.randn(count, channels, *(-(-side // period) for side in sides), generator=draws)
        blobs += F.interpolate(knots, sides, mode="bilinear", align_corners=False)
    return _bytes(x + level * blobs / blobs.std())


def with_blur(material: Material) -> Tensor:
    """Inputs after a Gaussian blur."""
    side = material.source.shape[-1]
    sigma = max(1.0, side * BLUR_SHARE)
    radius = min(round(3 * sigma), side // 2 - 1)
    return _bytes(gaussian_blur(material.source.float(), [2 * radius + 1] * 2, [sigma] * 2))


def with_checkerboard(material: Material, period: int) -> Tensor:
    """Inputs with squares of half a period, lighter and darker in turn."""
    x = material.source.float()
    rows, columns = (torch.arange(side) // (period // 2) for side in x.shape[-2:])
    return _bytes(x + ENERGY * (1 - 2 * ((rows[:, None] + columns) % 2)))


def with_patches(material: Material) -> Tensor:
    """Inputs with squares out of the middle of a picture of the target, at random places."""
    result, draws = material.source.clone(), material.draws
    side = result.shape[-1]
    patch = max(1, round(side * PATCH_SHARE))
    for index, picture in enumerate(material.target):
        for _ in range(PATCH_COUNT):
            top, left = torch.randint(side - patch + 1, (2,), generator=draws).tolist()
            # The animal is in the middle, if anywhere
            y, x = (side // 4 + torch.randint(max(1, side // 2 - patch + 1), (2,), generator=draws)).tolist()
            result[index, :, top : top + patch, left : left + patch] = picture[:, y : y + patch, x : x + patch]
    return result


def _half(material: Material) -> Tensor:
    count = len(material.source) // 2
    return torch.cat([material.target[:count], material.source[count:]])


PLANTED: dict[str, Callable[[Material], Tensor]] = {
    NOTHING: lambda material: material.source,
    COLOUR: with_colour,
    **{name: partial(with_speckle, level=level) for name, level in zip(SPECKLES, LEVELS.values(), strict=True)},
    **{name: partial(with_noise, level=level) for name, level in zip(NOISES, LEVELS.values(), strict=True)},
    BLUR: with_blur,
    **{name: partial(with_checkerboard, period=period) for name, period in zip(CHECKERBOARDS, PERIODS, strict=True)},
    PATCHES: with_patches,
    REAL: lambda material: material.target,
    HALF: _half,
    ONE: lambda material: material.target[:1].expand_as(material.target),
    TRAINING: lambda material: material.training,
}
