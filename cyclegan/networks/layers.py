"""What the networks are made of: normalisation, enlarging, initial weights, and the padding that lets any size in.

Every choice a user can make here is a table: `NORMS`, `UPSAMPLINGS`, `INITS`.
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
from cyclegan.networks.kernels import conv_from_picture, conv_to_picture, resize_conv2x, transposed_conv2x, usable
from cyclegan.system import rng

Convolution = nn.Conv2d | nn.ConvTranspose2d


def full_precision(x: Tensor) -> Tensor:
    """`x` in fp32 if it has fewer digits than that, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class InstanceNorm(nn.Module):
    """Every channel of every picture to mean 0 and variance 1 (Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022).

        y = (x − mean_hw(x)) / sqrt(var_hw(x) + ε)

    It takes the contrast and the tint of a picture out of the features, which is what lets one generator repaint
    pictures of any exposure. No scale, no shift, no running statistics: training and use compute the same, and each
    picture is independent of the others in its batch.

    The statistics are fp32 in any precision: bf16 has 8 binary digits, and where |mean| is much above the deviation
    their difference would be rounding. The result has the type of `x`. A constant channel, and so a single pixel,
    becomes 0 up to rounding and has finite gradients (`nn.InstanceNorm2d` refuses a single pixel in training).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # NCHW of any range
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu":
                # One group per channel is the same thing. On processors this kernel takes half the time of
                # instance_norm in fp32 and a quarter in bf16, where fp32 weights make it keep fp32 statistics.
                # It is inexact (5e-3) on channels_last, hence contiguous(), which instance_norm does inside.
                statistics = torch.promote_types(x.dtype, torch.float32)
                scale = torch.ones(self.channels, dtype=statistics)
                shift = torch.zeros(self.channels, dtype=statistics)
                return torch.group_norm(x.contiguous(), self.channels, scale, shift, self.eps)
            # CUDA's kernel keeps fp32 statistics of half-precision input by itself and spares the copies.
            exact = x if x.is_cuda else full_precision(x)
            return torch.instance_norm(exact, None, None, None, None, True, 0.0, self.eps, False).to(x.dtype)

    def extra_repr(self) -> str:
        """What `print(network)` shows in the brackets."""
        return f"{self.channels}, eps={self.eps}"


class Norm(NamedTuple):
    """A kind of normalisation: how to make one for so many channels, and whether convolutions before it have a bias."""

    make: Callable[[int], nn.Module]
    bias: bool


# A norm that subtracts the mean makes the bias before it idle. Under batch norm, whose own shift replaces it, it is
# left out; under instance norm it stays because the published CycleGAN weights have it.
NORMS: dict[str, Norm] = {
    "instance": Norm(InstanceNorm, bias=True),
    "batch": Norm(nn.BatchNorm2d, bias=False),  # Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167
    "none": Norm(lambda channels: nn.Identity(), bias=True),
}


class HasKernel:
    """A part of a network that has a faster way to compute the same up to rounding, taken where `fast` is set."""

    use_kernel = False


class DoublingConv2d(nn.ConvTranspose2d, HasKernel):
    """The transposed convolution that enlarges two-fold: an odd or even kernel, stride 2."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool) -> None:
        odd = kernel % 2  # what an odd kernel lacks to a full two-fold
        super().__init__(in_channels, out_channels, kernel, 2, 1, output_padding=odd, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.use_kernel and output_size is None and self.kernel_size == (3, 3) and usable(x):
            return transposed_conv2x(x, self.weight, self.bias)
        return super().forward(x, output_size)


class OuterConv2d(nn.Conv2d, HasKernel):
    """A convolution between pictures and features: an odd kernel, stride 1, the edge mirrored."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)
        self.shortcut = conv_from_picture if in_channels < out_channels else conv_to_picture

    def forward(self, x: Tensor) -> Tensor:
        if self.use_kernel and usable(x):
            return self.shortcut(x, self.weight, self.bias)
        return super().forward(x)


class ResizeConv2d(nn.Conv2d, HasKernel):
    """Enlarge two-fold by repeating pixels, then convolve (Odena et al. 2016, https://doi.org/10.23915/distill.00003)."""

    def forward(self, x: Tensor) -> Tensor:  # N,C,h,w -> N,C',2h,2w
        if self.use_kernel and usable(x):
            return resize_conv2x(x, self.weight, self.bias)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def transposed(in_channels: int, out_channels: int, *, kernel: int, bias: bool) -> DoublingConv2d:
    """Two-fold enlarging by a transposed convolution, as in the papers.

    With a 3×3 kernel and stride 2 an output pixel is the sum of 1, 2 or 4 products depending on its parity, so the
    network has to learn not to draw a checkerboard; early in training, and where it is unsure, one can be seen.
    """
    return DoublingConv2d(in_channels, out_channels, kernel, bias=bias)


def resize(in_channels: int, out_channels: int, *, kernel: int, bias: bool) -> ResizeConv2d:
    """Two-fold enlarging in which every output pixel is the sum of equally many products: no checkerboard.

    The convolution is 3×3 whatever `kernel` the transposed one would have had; it runs at the larger size and costs
    four times the multiplications of a transposed 3×3.
    """
    return ResizeConv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect", bias=bias)


UPSAMPLINGS: dict[str, Callable[..., Convolution]] = {"transposed": transposed, "resize": resize}


class ConvBlock(nn.Module):
    """Convolution, normalisation, activation, and dropout if asked for."""

    def __init__(self, conv: Convolution, norm: nn.Module, activation: nn.Module, dropout: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation = activation
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.conv(x))))


class GeneratorLike(Protocol):
    """All that translation asks of a network, be it a `Generator` or a session of another runtime.

    What is an `nn.Module` is also moved to the device, and put into evaluation mode while it translates.
    """

    in_channels: int
    out_channels: int
    multiple: int  # tiles begin at multiples of it, and their sides are such; a whole picture has any size
    smallest: int  # side of a tile
    # Whether parts of a picture may go through apart: what becomes of a pixel depends on its surroundings, and on
    # nothing else of the whole but the statistics of `InstanceNorm` modules, which parts can share
    tileable: bool

    def __call__(self, x: Tensor, /) -> Tensor:
        """NCHW in [-1, 1], any height and width from 1 -> the same size, on any device."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """All that its answers depend on: by this, the record of a folder tells one network from another."""


def check_generator(network: object) -> None:
    """Hold `network` against `GeneratorLike`; `TypeError` names what it lacks."""
    asked = (*GeneratorLike.__annotations__, "__call__", "state_dict")
    lacking = [name for name in asked if not hasattr(network, name)]
    if lacking:
        raise TypeError(
            f"{type(network).__name__} has no {', '.join(lacking)}; cyclegan.networks.GeneratorLike says what a "
            "network needs in order to translate"
        )


class Generator(nn.Module, ABC):
    """A network that turns pictures into pictures of the same height and width.

    A subclass defines `paint` for pictures whose sides are a multiple of `multiple` and at least `smallest`; the
    class brings every other picture to such a size and the result back. `spec` rebuilds the network without its
    weights: `build_generator(**generator.spec)`.
    """

    Options: ClassVar[type] = NoOptions  # dataclass of what only this network takes; its fields become options
    spec: dict[str, Any]
    tileable: bool = True
    per_sample: bool  # what becomes of a picture does not depend on the batch it is in
    recompute = False  # in training, keep the inputs of the layers alone and compute the rest again on the way back

    def __init__(self, in_channels: int, out_channels: int, *, multiple: int, smallest: int) -> None:
        super().__init__()
        assert smallest % multiple == 0, (smallest, multiple)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.multiple = multiple
        self.smallest = smallest

    @abstractmethod
    def forward_padded(self, x: Tensor) -> Tensor:
        """NCHW of a size that fits -> NCHW before the final tanh, of the same size."""

    def checkpointed(self, layer: nn.Module, x: Tensor) -> Tensor:
        """`layer(x)`, of which with `recompute` only x is kept (Chen et al. 2016, https://arxiv.org/abs/1604.06174)."""
        if self.recompute and torch.is_grad_enabled():
            kept: Tensor = checkpoint(layer, x, use_reentrant=False)
            return kept
        made: Tensor = layer(x)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in [-1, 1], any height and width from 1 -> the same size, in (-1, 1), fp32 or better.

        The last tanh is fp32: bf16 between 0.5 and 1 has steps of 1/256, half a grey level of the 256 there are.
        """
        height, width = x.shape[-2:]
        x = pad_to_fit(x, self.multiple, self.smallest)
        return full_precision(self.forward_padded(x)).tanh()[..., :height, :width]


@dataclass(frozen=True)
class Noise:
    """The distribution that a `NoiseGenerator` draws its input from."""

    dim: int
    distribution: str  # a name of `DISTRIBUTIONS`

    def draw(self, count: int) -> Tensor:
        """`count` vectors, N × dim, that belong to pictures as `cyclegan.system.rng` says; on the processor."""
        return lookup(DISTRIBUTIONS, self.distribution, "--noise")(count, self.dim)


def standard_normal(count: int, dim: int) -> Tensor:
    """N(0, 1)."""
    return rng.normal(count, dim)


def symmetric_uniform(count: int, dim: int) -> Tensor:
    """Uniform in [-1, 1)."""
    return rng.uniform(count, dim) * 2 - 1


DISTRIBUTIONS: dict[str, Callable[[int, int], Tensor]] = {"normal": standard_normal, "uniform": symmetric_uniform}


class NoiseGenerator(nn.Module, ABC):
    """A network that turns noise, N × `noise.dim`, into NCHW pictures in (-1, 1) of one size.

    Its class takes `out_channels`, `size` and `channels` among its arguments.
    """

    Options: ClassVar[type] = NoOptions
    spec: dict[str, Any]
    per_sample: bool
    noise: Noise

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """N × dim -> NCHW, fp32 or better."""


def pad_to_fit(x: Tensor, multiple: int, smallest: int) -> Tensor:
    """NCHW grown at the bottom and the right to the next size the network takes; `x` itself if it has one.

    By reflection, since a mirrored edge looks like more of the same picture; where a picture is too small to be
    mirrored that far, by repeating its last row or column.
    """
    for axis in (-1, -2):
        size = x.shape[axis]
        missing = max(smallest, -(-size // multiple) * multiple) - size
        if missing:
            padding = (0, missing, 0, 0) if axis == -1 else (0, 0, 0, missing)
            x = F.pad(x, padding, mode="reflect" if missing < size else "replicate")
    return x


def normal(weight: Tensor, gain: float) -> None:
    """N(0, gain²), the papers' choice with 0.02 (Radford et al. 2015, https://arxiv.org/abs/1511.06434)."""
    nn.init.normal_(weight, 0.0, gain)


def xavier(weight: Tensor, gain: float) -> None:
    """Variance 2 / (inputs + outputs) (Glorot & Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html)."""
    nn.init.xavier_normal_(weight)


def kaiming(weight: Tensor, gain: float) -> None:
    """Variance 2 / inputs, which keeps the signal's size through ReLUs (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    nn.init.kaiming_normal_(weight)


def orthogonal(weight: Tensor, gain: float) -> None:
    """Orthonormal rows or columns (Saxe et al. 2014, https://arxiv.org/abs/1312.6120)."""
    nn.init.orthogonal_(weight)


INITS: dict[str, Callable[[Tensor, float], None]] = {
    "normal": normal,
    "xavier": xavier,
    "kaiming": kaiming,
    "orthogonal": orthogonal,
}


def initialise(network: nn.Module, init: str, gain: float) -> None:
    """Draw the weights of `network` from torch's global generator; biases become 0, batch norm's scales N(1, gain²).

    `gain` is the deviation of `normal`; the other initialisations take theirs from the shape of each weight.
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
    """Another parametrization, computed outside autocast, which on CUDA would round a power iteration to 8 digits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return self.inner(weight)


def bound_lipschitz(network: nn.Module) -> None:
    """Divide the weight of every convolution by its largest singular value (Miyato et al. 2018,
    https://arxiv.org/abs/1802.05957).

    The network then changes by no more than its input does, up to the shape of its convolutions, and cannot become
    arbitrarily steep between real and fake. The singular value is followed by one power iteration per forward in
    training; in evaluation it stands still.
    """
    for module in network.modules():
        if isinstance(module, Convolution):
            parametrizations.spectral_norm(module)
            applied: Any = module.parametrizations
            applied.weight[0] = FullPrecision(applied.weight[0])
