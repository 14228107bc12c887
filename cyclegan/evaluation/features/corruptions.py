"""Pictures spoilt on purpose, from which the judge learns what is of neither domain.

Each function takes float N × 3 × S × S pictures in [0, 255], as many others of the opposite domain, and a generator of
random numbers, and returns pictures that may leave that range.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PERIOD = 4


def corrupt(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Spoil uint8 N × 3 × S × S pictures, each part of them in another way; uint8 again."""
    count = len(CORRUPTIONS)
    order = torch.randperm(count, generator=draws).tolist()
    parts = zip(order, pictures.float().chunk(count), others.float().chunk(count), strict=False)
    spoilt = torch.cat([CORRUPTIONS[index](part, other, draws) for index, part, other in parts])
    return spoilt.round().clamp(0, 255).to(torch.uint8)


def uniform(count: int, draws: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Random numbers, N × 1 × 1 × 1."""
    return (torch.rand(count, generator=draws) * (high - low) + low)[:, None, None, None]


def repeated(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """Random pattern of 4 × 4 pixels, tiled over each N × 3 × H × W picture; mean 0, deviation about 1."""
    count, channels, height, width = pictures.shape
    tile = torch.randn(count, channels, PERIOD, PERIOD, generator=draws)
    tile = tile - tile.mean(dim=(2, 3), keepdim=True)
    return tile.repeat(1, 1, -(-height // PERIOD), -(-width // PERIOD))[:, :, :height, :width]


def blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of σ pixels."""
    radius = min(round(3 * sigma), pictures.shape[-1] - 1)
    weights = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    weights = (weights / weights.sum()).repeat(pictures.shape[1], 1, 1, 1)
    padded = F.pad(pictures, (radius,) * 4, mode="reflect")
    across = F.conv2d(padded, weights, groups=pictures.shape[1])
    return F.conv2d(across, weights.mT, groups=pictures.shape[1])


def speckle(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Noise of 20 to 90 levels, coloured or grey, of grains of up to three pixels, in places or everywhere."""
    count, _, height, width = pictures.shape
    noise = torch.randn(pictures.shape, generator=draws)
    noise = torch.lerp(noise, noise.mean(dim=1, keepdim=True), uniform(count, draws))
    grain = float(uniform(1, draws, 0, 1.2))
    noise = blurred(noise, grain) if grain > 0.35 else noise
    places = torch.randn(count, 1, *torch.randint(2, 9, (2,), generator=draws).tolist(), generator=draws)
    places = F.interpolate(places, (height, width), mode="bicubic", align_corners=False).mul(3).sigmoid()
    places = places.where(uniform(count, draws) > 0.4, torch.ones(()))
    return pictures + noise / noise.std(dim=(1, 2, 3), keepdim=True) * places * uniform(count, draws, 20, 90)


def strong_blur(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Gaussian blur of 1.6 to 4.6 pixels."""
    return blurred(pictures, float(uniform(1, draws, 1.6, 4.6)))


def strong_pattern(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """A pattern of 4 × 4 pixels of 28 to 80 levels, over the whole picture."""
    return pictures + repeated(pictures, draws) * uniform(len(pictures), draws, 28, 80)


def shuffled(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Patches in random places."""
    side = _one_of((4, 8, 16), draws)
    patches = F.unfold(pictures, side, stride=side)
    patches = patches[:, :, torch.randperm(patches.shape[2], generator=draws)]
    return F.fold(patches, pictures.shape[-2:], side, stride=side)


def recoloured(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """A negative, exchanged channels, or much of one colour."""
    one_colour = torch.lerp(
        pictures,
        255 * torch.rand(len(pictures), 3, 1, 1, generator=draws),
        uniform(len(pictures), draws, 0.45, 0.8),
    )
    return (255 - pictures, pictures.roll(1, dims=1), one_colour)[_one_of((0, 1, 2), draws)]


def mixed(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Both domains in one picture: cross-faded, coarse of one and fine of the other, or patches in wrong places."""
    count, _, height, width = pictures.shape
    kind = _one_of((0, 1, 2), draws)
    if kind == 0:
        return torch.lerp(pictures, others, uniform(count, draws, 0.3, 0.7))
    if kind == 1:
        sigma = float(uniform(1, draws, 1, 4))
        return blurred(pictures, sigma) + (others - blurred(others, sigma)) * uniform(count, draws, 0.7, 1.5)
    side = _one_of((4, 8, 8, 16), draws)
    places = torch.rand(count, 1, height // side, width // side, generator=draws) < uniform(count, draws, 0.25, 0.75)
    return others.roll(_one_of(range(width), draws), dims=3).where(
        F.interpolate(places.float(), (height, width)) > 0.5, pictures
    )


def low_resolution(pictures: Tensor, others: Tensor, draws: torch.Generator) -> Tensor:
    """Enlarged from 6 to 17 pixels."""
    side = _one_of(range(6, 18), draws)
    mode = ("nearest", "bilinear")[_one_of((0, 1), draws)]
    return F.interpolate(F.interpolate(pictures, (side, side), mode="area"), pictures.shape[-2:], mode=mode)


CORRUPTIONS = speckle, strong_blur, strong_pattern, shuffled, recoloured, mixed, low_resolution


def _one_of(values: range | tuple[int, ...], draws: torch.Generator) -> int:
    return values[int(torch.randint(len(values), (1,), generator=draws))]
