"""The residual generator of CycleGAN."""

from __future__ import annotations

from torch import Tensor, nn

from cyclegan.errors import lookup
from cyclegan.networks.kernels.build import usable
from cyclegan.networks.kernels.residual import LANES, residual_block, shared_residual_block
from cyclegan.networks.layers import (
    NORMS,
    UPSAMPLINGS,
    ConvBlock,
    Convolution,
    Generator,
    HasKernel,
    InstanceNorm,
    OuterConv2d,
)
from cyclegan.networks.shared_statistics import SharedNorm


class ResidualBlock(nn.Module, HasKernel):
    """Residual block, x + two convolutions of x, without activation after the sum.

    So it can represent the identity. The kernel covers the block of the papers, with instance norm and no dropout: two
    to three times as fast on a CPU. It leaves out the biases, which the norms after them cancel.
    """

    def __init__(self, channels: int, norm: str, dropout: bool) -> None:
        super().__init__()
        make_norm, bias = NORMS[norm]

        def conv() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias)

        self.first = ConvBlock(conv(), make_norm(channels), nn.ReLU(inplace=True), dropout)
        self.second = ConvBlock(conv(), make_norm(channels), nn.Identity())
        last = self.second.norm
        plain = not dropout and channels % LANES == 0
        self.eps = last.eps if plain and isinstance(last, InstanceNorm) else None  # None: no kernel

    def forward(self, x: Tensor) -> Tensor:
        if self.use_kernel and self.eps is not None and usable(x):
            norms = self.first.norm, self.second.norm
            if isinstance(norms[0], SharedNorm) and isinstance(norms[1], SharedNorm):
                weights = self.first.conv.weight, self.second.conv.weight
                return shared_residual_block(x, *weights, norms[0].mean_and_scale, norms[1].mean_and_scale)
            return residual_block(x, self.first.conv.weight, self.second.conv.weight, self.eps)
        return x + self.second(self.first(x))


class ResNetGenerator(Generator):
    """ResNet generator with 4× downsampling (Johnson et al. 2016, https://arxiv.org/abs/1603.08155).

    As in Zhu et al. 2017 (https://arxiv.org/abs/1703.10593, section 7.2):
    c7s1-64, d128, d256, R256 × `blocks`, u128, u64, c7s1-3, reflection padding. Nearly all computation happens at a
    quarter of the size, where one 3×3 sees 12 pixels; unchanged content passes through the residual sums. Unlike the
    U-Net it has no skip connection from the input's edges to the output, which helps where shapes must change.

    Pictures are NCHW in [-1, 1]; sides that are not multiples of 4, or are below 8, are padded and cropped.
    """

    def __init__(
        self,
        *,
        blocks: int,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 64,
        norm: str = "instance",
        dropout: bool = False,
        upsampling: str = "transposed",
    ) -> None:
        # 8: the residual blocks pad by reflecting one pixel, which needs two
        super().__init__(in_channels, out_channels, multiple=4, smallest=8)
        make_norm, bias = lookup(NORMS, norm, "--norm")
        upsample = lookup(UPSAMPLINGS, upsampling, "--upsampling")

        def block(conv: Convolution, width: int) -> ConvBlock:
            return ConvBlock(conv, make_norm(width), nn.ReLU(inplace=True))

        self.stem = block(OuterConv2d(in_channels, channels, 7, bias=bias), channels)
        self.down = nn.Sequential(
            *(block(nn.Conv2d(channels * n, channels * 2 * n, 3, 2, 1, bias=bias), channels * 2 * n) for n in (1, 2))
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels * 4, norm, dropout) for _ in range(blocks)))
        self.up = nn.Sequential(
            *(block(upsample(channels * 2 * n, channels * n, kernel=3, bias=bias), channels * n) for n in (2, 1))
        )
        self.head = OuterConv2d(channels, out_channels, 7)

    def forward_padded(self, x: Tensor) -> Tensor:
        for layer in (self.stem, *self.down, *self.blocks):
            x = self.checkpointed(layer, x)
        if x.device.type == "cpu":
            x = x.contiguous()  # the block kernels return channels last, in which the other layers are slower
        for layer in (*self.up, self.head):
            x = self.checkpointed(layer, x)
        return x
