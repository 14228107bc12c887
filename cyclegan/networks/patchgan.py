"""Discriminators that judge patches: one verdict per region instead of one per picture.

A discriminator that sees only N×N pixels at a time can say whether texture is right, not whether the whole picture is
composed well; in CycleGAN the cycle keeps the composition, so texture is what is left to judge. It has few parameters,
takes any size, and gives hundreds of verdicts per picture, which makes its gradient steady.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.config import NoOptions
from cyclegan.errors import UsageError, lookup
from cyclegan.networks.layers import NORMS, ConvBlock


class Discriminator(nn.Module):
    """A network that judges pictures; `smallest` is the least side it can take."""

    Options: ClassVar[type] = NoOptions  # dataclass of what only this network takes; its fields become options
    spec: dict[str, Any]
    smallest: int
    per_sample: bool  # what a picture's verdict is does not depend on the batch it is in, nor on the calls before

    def check(self, x: Tensor) -> None:
        """`UsageError` if the NCHW pictures `x` are too small to have a verdict."""
        height, width = x.shape[-2:]
        if min(height, width) < self.smallest:
            raise UsageError(
                f"--discriminator: this one judges pictures of {self.smallest} pixels or more a side, "
                f"not {width}×{height}; raise --crop-size or take --discriminator pixel"
            )


def leaky() -> nn.LeakyReLU:
    """max(x, 0.2 x): a gradient also where the discriminator is sure, which the generator learns from."""
    return nn.LeakyReLU(0.2, inplace=True)


class PatchDiscriminator(Discriminator):
    """70×70 PatchGAN (Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 6.1.2): C64-C128-C256-C512.

    `layers` convolutions of stride 2, two of stride 1, all 4×4; 3 layers see 70×70 pixels, 1 sees 16×16, 5 see 286×286.
    NCHW in [-1, 1] -> verdicts (N, 1, h/8 - 2, w/8 - 2), raw: what they mean is the loss's affair.
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
    """1×1 PatchGAN (Isola et al. 2017): judges each colour for itself, so it teaches colours and no texture.

    NCHW in [-1, 1] -> raw verdicts (N, 1, h, w).
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
    """Equal patch discriminators, with weights of their own, on the picture and on halved copies of it (Wang et al.
    2018, https://arxiv.org/abs/1711.11585, section 3.2).

    The coarse one sees about 140 pixels and asks for consistent shapes, the fine one for texture.
    NCHW in [-1, 1] -> a list of `scales` raw verdicts (N, 1, h, w), finest first; losses average over it.
    """

    def __init__(self, *, scales: int = 2, in_channels: int = 3, channels: int = 64, norm: str = "instance") -> None:
        super().__init__()
        players = [PatchDiscriminator(in_channels=in_channels, channels=channels, norm=norm) for _ in range(scales)]
        self.scales = nn.ModuleList(players)
        self.smallest = (players[0].smallest - 1) * 2 ** (scales - 1) + 1  # halving rounds up

    def forward(self, x: Tensor) -> list[Tensor]:
        self.check(x)
        verdicts = []
        for level, discriminator in enumerate(self.scales):
            if level:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            verdicts.append(discriminator(x))
        return verdicts
