"""Patch discriminators: one score per region instead of one per picture.

A discriminator that sees only N×N pixels at a time can score texture, but not the composition of the whole picture. In
CycleGAN the cycle preserves the composition, so texture is what remains to be scored. It has few parameters, takes any
size, and gives hundreds of scores per picture, which makes its gradient stable.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.config import NoOptions
from cyclegan.errors import UsageError, lookup
from cyclegan.networks.layers import NORMS, ConvBlock


class Discriminator(nn.Module):
    """Base of discriminators; `smallest` is the least side of a picture."""

    Options: ClassVar[type] = NoOptions  # dataclass of this network's own arguments; its fields become options
    spec: dict[str, Any]
    smallest: int
    per_sample: bool  # the score of a picture depends neither on its batch nor on earlier calls

    def check(self, x: Tensor) -> None:
        """Raise `UsageError` if the NCHW pictures `x` are too small to be scored."""
        height, width = x.shape[-2:]
        if min(height, width) < self.smallest:
            raise UsageError(
                f"--discriminator: this one judges pictures of {self.smallest} pixels or more a side, "
                f"not {width}×{height}; raise --crop-size or take --discriminator pixel"
            )


def leaky() -> nn.LeakyReLU:
    """max(x, 0.2 x): passes the generator a gradient also where the discriminator is confident."""
    return nn.LeakyReLU(0.2, inplace=True)


class PatchDiscriminator(Discriminator):
    """70×70 PatchGAN (Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 6.1.2): C64-C128-C256-C512.

    `layers` convolutions of stride 2, two of stride 1, all 4×4; 3 layers see 70×70 pixels, 1 sees 16×16, 5 see 286×286.
    NCHW in [-1, 1] -> raw scores (N, 1, h/8 - 2, w/8 - 2), on the scale that the loss defines.
    """

    def __init__(self, *, layers: int = 3, in_channels: int = 3, channels: int = 64, norm: str = "instance") -> None:
        super().__init__()
        make_norm, bias = lookup(NORMS, norm, "--norm")
        self.smallest = 3 * 2**layers
        widths = [channels * min(2**level, 8) for level in range(layers + 1)]
        self.stem = ConvBlock(nn.Conv2d(in_channels, channels, 4, 2, 1), nn.Identity(), leaky())
        self.blocks = nn.Sequential(
            *(
                ConvBlock(
                    nn.Conv2d(widths[level - 1], widths[level], 4, 2 if level < layers else 1, 1, bias=bias),
                    make_norm(widths[level]),
                    leaky(),
                )
                for level in range(1, layers + 1)
            )
        )
        self.head = nn.Conv2d(widths[-1], 1, 4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.head(self.blocks(self.stem(x)))


class PixelDiscriminator(Discriminator):
    """1×1 PatchGAN (Isola et al. 2017): scores each pixel's colour, so it trains colours, not texture.

    NCHW in [-1, 1] -> raw scores (N, 1, h, w).
    """

    smallest = 1

    def __init__(self, *, in_channels: int = 3, channels: int = 64, norm: str = "instance") -> None:
        super().__init__()
        make_norm, bias = lookup(NORMS, norm, "--norm")
        self.stem = ConvBlock(nn.Conv2d(in_channels, channels, 1), nn.Identity(), leaky())
        self.blocks = nn.Sequential(
            ConvBlock(nn.Conv2d(channels, channels * 2, 1, bias=bias), make_norm(channels * 2), leaky())
        )
        self.head = nn.Conv2d(channels * 2, 1, 1, bias=bias)  # none under batch norm, as in the published code

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.head(self.blocks(self.stem(x)))


class MultiscaleDiscriminator(Discriminator):
    """Patch discriminators on a picture and its halved copies, with separate weights (Wang et al. 2018,
    https://arxiv.org/abs/1711.11585, section 3.2).

    The coarse one sees about 140 pixels and enforces consistent shapes, the fine one texture.
    NCHW in [-1, 1] -> a list of `scales` raw scores (N, 1, h, w), finest first; losses average over it.
    """

    def __init__(self, *, scales: int = 2, in_channels: int = 3, channels: int = 64, norm: str = "instance") -> None:
        super().__init__()
        parts = [PatchDiscriminator(in_channels=in_channels, channels=channels, norm=norm) for _ in range(scales)]
        self.scales = nn.ModuleList(parts)
        self.smallest = (parts[0].smallest - 1) * 2 ** (scales - 1) + 1  # halving rounds up

    def forward(self, x: Tensor) -> list[Tensor]:
        self.check(x)
        scores = []
        for level, discriminator in enumerate(self.scales):
            if level:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            scores.append(discriminator(x))
        return scores
