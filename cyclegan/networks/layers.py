"""Building blocks of the networks: normalisation, upsampling, initialisation, padding.

Each choice of the user is a table: `NORMS`, `UPSAMPLINGS`, `INITS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from cyclegan.config import NoOptions
from cyclegan.errors import lookup
from cyclegan.networks.kernels.build import usable
from cyclegan.networks.kernels.outer_conv import conv_from_picture, conv_to_picture
from cyclegan.networks.kernels.upsample_conv import resize_conv2x, transposed_conv2x
from cyclegan.system import rng
from cyclegan.system.pixels import full_precision

Convolution = nn.Conv2d | nn.ConvTranspose2d


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022).

        y = (x − mean_hw(x)) / sqrt(var_hw(x) + ε)

    It removes the contrast and the tint of a picture from the features, so that one generator can translate pictures
    of any exposure. It has no scale, no shift and no running statistics: training and inference compute the same, and
    each picture is independent of the others in its batch.

    The statistics are fp32 in any precision: bf16 has 8 binary digits, and where |mean| is much above the deviation,
    their difference would be rounding error. The result has the type of `x`. A constant channel, and so a single pixel,
    becomes 0 up to rounding and has finite gradients (`nn.InstanceNorm2d` refuses a single pixel in training).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # NCHW of any range
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu":
                # Group norm with one group per channel is instance norm. On CPUs this kernel takes half the time of
                # instance_norm in fp32 and a quarter in bf16, where fp32 weights make it keep fp32 statistics.
                # It is inexact (5e-3) on channels_last, hence contiguous(), which instance_norm calls itself.
                statistics = torch.promote_types(x.dtype, torch.float32)
                scale = torch.ones(self.channels, dtype=statistics)
                shift = torch.zeros(self.channels, dtype=statistics)
                return torch.group_norm(x.contiguous(), self.channels, scale, shift, self.eps)
            # The CUDA kernel keeps fp32 statistics of half-precision input itself, without copies.
            exact = x if x.is_cuda else full_precision(x)
            return torch.instance_norm(exact, None, None, None, None, True, 0.0, self.eps, False).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}"


class Norm(NamedTuple):
    """A normalisation: its constructor from a channel count, and if convolutions before it have a bias."""

    make: Callable[[int], nn.Module]
    bias: bool


# A norm that subtracts the mean cancels the bias before it. With batch norm, whose own shift replaces it, the bias is
# left out; with instance norm it stays, because the published CycleGAN weights have it.
NORMS: dict[str, Norm] = {
    "instance": Norm(InstanceNorm, bias=True),
    "batch": Norm(nn.BatchNorm2d, bias=False),  # Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167
    "none": Norm(lambda channels: nn.Identity(), bias=True),
}


class HasKernel:
    """A module with a faster CPU kernel, equal up to rounding, used where `use_kernel` is set."""

    use_kernel = False


class DoublingConv2d(nn.ConvTranspose2d, HasKernel):
    """Transposed convolution that doubles the size, as in the papers: an odd or even kernel, stride 2.

    With a 3×3 kernel an output pixel is the sum of 1, 2 or 4 products depending on its parity, so the network has to
    learn to avoid a checkerboard pattern; one is visible early in training and where it is uncertain.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool) -> None:
        odd = kernel % 2  # an odd kernel falls one pixel short of the double size
        super().__init__(in_channels, out_channels, kernel, 2, 1, output_padding=odd, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.use_kernel and output_size is None and self.kernel_size == (3, 3) and usable(x):
            return transposed_conv2x(x, self.weight, self.bias)
        return super().forward(x, output_size)


class OuterConv2d(nn.Conv2d, HasKernel):
    """Convolution between pictures and features: an odd kernel, stride 1, reflection padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)
        self.kernel = conv_from_picture if in_channels < out_channels else conv_to_picture

    def forward(self, x: Tensor) -> Tensor:
        if self.use_kernel and usable(x):
            return self.kernel(x, self.weight, self.bias)
        return super().forward(x)


class ResizeConv2d(nn.Conv2d, HasKernel):
    """Nearest upsampling, then convolution (Odena et al. 2016, https://doi.org/10.23915/distill.00003).

    Without checkerboard: all output pixels sum equally many products. The convolution is 3×3, whatever the `kernel` of
    the transposed one; it runs at the larger size and costs four times the multiplications of a transposed 3×3.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # N,C,h,w -> N,C',2h,2w
        if self.use_kernel and usable(x):
            return resize_conv2x(x, self.weight, self.bias)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


UPSAMPLINGS: dict[str, Callable[..., Convolution]] = {"transposed": DoublingConv2d, "resize": ResizeConv2d}


class ConvBlock(nn.Module):
    """Convolution, normalisation, activation and optional dropout."""

    def __init__(self, conv: Convolution, norm: nn.Module, activation: nn.Module, dropout: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation = activation
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.conv(x))))


class GeneratorLike(Protocol):
    """Interface that translation needs: a `Generator`, or a session of another runtime.

    An `nn.Module` is also moved to the device, and set to evaluation mode for the translation.
    """

    in_channels: int
    out_channels: int
    multiple: int  # positions and sides of tiles are multiples of it; a whole picture may have any size
    smallest: int  # least side of a tile
    # True where a picture may be translated in tiles: an output pixel depends on its neighbourhood, and on the whole
    # picture only through the statistics of `InstanceNorm` modules, which tiles can share
    tileable: bool

    def __call__(self, x: Tensor, /) -> Tensor:
        """NCHW in [-1, 1], any height and width from 1 -> the same size, on any device."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """All weights; the record of a translated folder identifies the network by them."""


def check_generator(network: object) -> None:
    """Check `network` against `GeneratorLike`; `TypeError` names the missing members."""
    asked = (*GeneratorLike.__annotations__, "__call__", "state_dict")
    lacking = [name for name in asked if not hasattr(network, name)]
    if lacking:
        raise TypeError(
            f"{type(network).__name__} has no {', '.join(lacking)}; cyclegan.networks.GeneratorLike says what a "
            "network needs in order to translate"
        )


class Generator(nn.Module, ABC):
    """Network from pictures to pictures of the same height and width.

    A subclass defines `forward_padded` for pictures whose sides are a multiple of `multiple` and at least `smallest`;
    this class pads every other picture to such a size and crops the result. `spec` rebuilds the network without its
    weights: `build_generator(**generator.spec)`.
    """

    Options: ClassVar[type] = NoOptions  # dataclass of this network's own arguments; its fields become options
    spec: dict[str, Any]
    tileable: bool = True
    per_sample: bool  # the result for a picture does not depend on its batch
    recompute = False  # activation checkpointing: keep only the layers' inputs and recompute the rest when needed

    def __init__(self, in_channels: int, out_channels: int, *, multiple: int, smallest: int) -> None:
        super().__init__()
        assert smallest % multiple == 0, (smallest, multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.multiple = multiple
        self.smallest = smallest

    @abstractmethod
    def forward_padded(self, x: Tensor) -> Tensor:
        """NCHW of a valid size -> NCHW of the same size, before the final tanh."""

    def checkpointed(self, layer: nn.Module, x: Tensor) -> Tensor:
        """`layer(x)`; with `recompute` only x is kept (Chen et al. 2016, https://arxiv.org/abs/1604.06174)."""
        recompute = self.recompute and torch.is_grad_enabled()
        made: Tensor = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in [-1, 1], any height and width from 1 -> the same size, in (-1, 1), fp32 or better.

        The final tanh is fp32: bf16 between 0.5 and 1 has steps of 1/256, half of one of the 256 grey levels.
        """
        height, width = x.shape[-2:]
        x = pad_to_fit(x, self.multiple, self.smallest)
        return full_precision(self.forward_padded(x)).tanh()[..., :height, :width]


@dataclass(frozen=True)
class Noise:
    """Input distribution of a `NoiseGenerator`."""

    dim: int
    distribution: str  # a name of `DISTRIBUTIONS`

    def draw(self, count: int) -> Tensor:
        """`count` vectors, N × dim, on the CPU, drawn per picture (`cyclegan.system.rng`)."""
        return lookup(DISTRIBUTIONS, self.distribution, "--noise")(count, self.dim)


DISTRIBUTIONS: dict[str, Callable[[int, int], Tensor]] = {
    "normal": rng.normal,  # N(0, 1)
    "uniform": lambda count, dim: rng.uniform(count, dim) * 2 - 1,  # in [-1, 1)
}


class NoiseGenerator(nn.Module, ABC):
    """Network from noise, N × `noise.dim`, to NCHW pictures in (-1, 1) of a fixed size.

    The arguments of its class include `out_channels`, `size` and `channels`.
    """

    Options: ClassVar[type] = NoOptions
    spec: dict[str, Any]
    per_sample: bool
    noise: Noise

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """N × dim -> NCHW, fp32 or better."""


def pad_to_fit(x: Tensor, multiple: int, smallest: int) -> Tensor:
    """Pad NCHW at the bottom and right to the next valid size; `x` itself if its size is valid.

    By reflection, since a mirrored edge looks like more of the same picture; a picture that is too small for that is
    padded by repeating its last row or column.
    """
    for axis in (-1, -2):
        size = x.shape[axis]
        missing = max(smallest, -(-size // multiple) * multiple) - size
        if missing:
            padding = (0, missing, 0, 0) if axis == -1 else (0, 0, 0, missing)
            x = F.pad(x, padding, mode="reflect" if missing < size else "replicate")
    return x


INITS: dict[str, Callable[[Tensor, float], Tensor]] = {
    # N(0, gain²), the papers' choice with 0.02 (Radford et al. 2015, https://arxiv.org/abs/1511.06434)
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    # Variance 2 / (inputs + outputs) (Glorot & Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html)
    "xavier": lambda weight, gain: nn.init.xavier_normal_(weight),
    # Variance 2 / inputs, which preserves the scale through ReLUs (He et al. 2015, https://arxiv.org/abs/1502.01852)
    "kaiming": lambda weight, gain: nn.init.kaiming_normal_(weight),
    # Orthonormal rows or columns (Saxe et al. 2014, https://arxiv.org/abs/1312.6120)
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight),
}


def initialise(network: nn.Module, init: str, gain: float) -> None:
    """Draw the weights of `network` from torch's global generator.

    `gain` is the deviation of `normal`; the others derive it from the shape of each weight. Biases become 0, batch
    norm's scales N(1, gain²).
    """
    draw = lookup(INITS, init, "--init")
    for module in network.modules():
        if isinstance(module, Convolution):
            draw(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)


class FullPrecision(nn.Module):
    """Wrapper that computes a parametrization outside autocast (8 digits: too few for power iteration)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return self.inner(weight)


def bound_lipschitz(network: nn.Module) -> None:
    """Apply spectral norm to every convolution (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

    Each weight is divided by its largest singular value. The network then changes by no more than its input does, up
    to the shape of its convolutions, and cannot become arbitrarily steep between real and fake. The singular value is
    updated by one power iteration per forward in training, and fixed in evaluation.
    """
    for module in network.modules():
        if isinstance(module, Convolution):
            parametrizations.spectral_norm(module)
            applied: Any = module.parametrizations
            applied.weight[0] = FullPrecision(applied.weight[0])
