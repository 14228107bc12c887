"""The U-Net generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.errors import lookup
from cyclegan.networks.layers import NORMS, UPSAMPLINGS, Convolution, Generator


class Stage(nn.Module):
    """Activation, convolution, normalisation, and dropout if asked for: the U-Net activates before it convolves."""

    def __init__(self, activation: nn.Module, conv: Convolution, norm: nn.Module, dropout: bool = False) -> None:
        super().__init__()
        self.activation = activation
        self.conv = conv
        self.norm = norm
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.conv(self.activation(x))))


class UNetGenerator(Generator):
    """Halve the picture down to one vector, double it back, and hand every size across (Isola et al. 2017,
    https://arxiv.org/abs/1611.07004, section 6.1.1).

    The skips carry the input's edges to the output at full resolution: strong where the two domains share their
    outlines (maps, drawings), a hindrance where outlines must move. `depth` 8 takes multiples of 256, 7 of 128.

    Pictures are NCHW in [-1, 1]; sides that are no multiple of 2^`depth` are padded and cropped, so a picture of
    257 pixels costs as much as one of 512.

    With `dropout` the inner stages that enlarge to the full width drop half of their channels' values in training,
    which is the only noise this generator has.
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
        enlarge = lookup(UPSAMPLINGS, upsampling, "--upsampling")
        widths = [channels * min(2**level, 8) for level in range(depth)]
        innermost = depth - 1

        # The first stage sees pixels and the last a single one: neither is normalised.
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            outer = widths[level - 1] if level else in_channels
            self.down.append(
                Stage(
                    nn.LeakyReLU(0.2) if level else nn.Identity(),
                    nn.Conv2d(outer, width, 4, 2, 1, bias=bias),
                    make_norm(width) if 0 < level < innermost else nn.Identity(),
                )
            )

        self.up = nn.ModuleList()  # from the innermost outwards
        for level in range(innermost, 0, -1):
            width = widths[level] * (1 if level == innermost else 2)  # twice: its own and what was handed across
            self.up.append(
                Stage(
                    nn.ReLU(),
                    enlarge(width, widths[level - 1], kernel=4, bias=bias),
                    make_norm(widths[level - 1]),
                    dropout and 4 <= level < innermost,
                )
            )
        self.head = enlarge(widths[0] * 2, out_channels, kernel=4, bias=True)

    def forward_padded(self, x: Tensor) -> Tensor:
        handed = []
        for stage in self.down:
            x = self.checkpointed(stage, x)
            handed.append(x)
        handed.pop()  # the innermost goes on by itself
        for stage in self.up:
            # Published code hands across the leaky-rectified value; what reads it here rectifies first, and
            # relu(leaky_relu(x)) = relu(x), so both are the same function.
            x = torch.cat([handed.pop(), self.checkpointed(stage, x)], dim=1)
        return self.head(F.relu(x))
