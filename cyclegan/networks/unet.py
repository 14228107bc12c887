"""The U-Net generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.errors import lookup
from cyclegan.networks.layers import NORMS, UPSAMPLINGS, ConvBlock, Generator


class Stage(ConvBlock):
    """The same layers in the order of the U-Net, with the activation first."""

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.conv(self.activation(x))))


class UNetGenerator(Generator):
    """U-Net: an encoder down to one vector and a decoder, with skip connections at every size
    (Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 6.1.1).

    The skips carry the input's edges to the output at full resolution: an advantage where the two domains share their
    outlines (maps, drawings), a drawback where outlines must move. `depth` 8 takes multiples of 256, 7 of 128.

    Pictures are NCHW in [-1, 1]; sides that are not multiples of 2^`depth` are padded and cropped, so a picture of 257
    pixels costs as much as one of 512.

    With `dropout` the inner upsampling stages of full width drop half of their values in training, the only noise of
    this generator.
    """

    def __init__(
        self,
        *,
        depth: int,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 64,
        norm: str = "instance",
        dropout: bool = False,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__(in_channels, out_channels, multiple=2**depth, smallest=2**depth)
        make_norm, bias = lookup(NORMS, norm, "--norm")
        upsample = lookup(UPSAMPLINGS, upsampling, "--upsampling")
        widths = [channels * min(2**level, 8) for level in range(depth)]
        innermost = depth - 1

        # The first stage sees raw pixels and the last a single one: neither is normalised.
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            outer = widths[level - 1] if level else in_channels
            self.down.append(
                Stage(
                    nn.Conv2d(outer, width, 4, 2, 1, bias=bias),
                    make_norm(width) if 0 < level < innermost else nn.Identity(),
                    nn.LeakyReLU(0.2) if level else nn.Identity(),
                )
            )

        self.up = nn.ModuleList()  # from the innermost outwards
        for level in range(innermost, 0, -1):
            width = widths[level] * (1 if level == innermost else 2)  # twice: the stage below and the skip
            self.up.append(
                Stage(
                    upsample(width, widths[level - 1], kernel=4, bias=bias),
                    make_norm(widths[level - 1]),
                    nn.ReLU(),
                    dropout and 4 <= level < innermost,
                )
            )
        self.head = upsample(widths[0] * 2, out_channels, kernel=4, bias=True)

    def forward_padded(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.down:
            x = self.checkpointed(stage, x)
            skips.append(x)
        skips.pop()  # the innermost is no skip
        for stage in self.up:
            # In the published code a skip carries leaky_relu(x). Each reader here applies ReLU first, and
            # relu(leaky_relu(x)) = relu(x), so both are the same function.
            x = torch.cat([skips.pop(), self.checkpointed(stage, x)], dim=1)
        return self.head(F.relu(x))
