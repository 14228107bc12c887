"""Two-fold upsampling convolutions as one matrix product and a sum.

For the transposed convolution oneDNN needs channels last, and the conversion takes as long as the computation. The
backward pass is oneDNN's, which is faster there.

The resize convolution repeats each pixel four times before it convolves, and so multiplies the same numbers by the same
weights four times. Here the product comes before the repetition, in the backward pass too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cyclegan.networks.kernels.build import call
from cyclegan.networks.kernels.scratch import bands, by_plane, scratch

BAND = 2**21  # numbers in the planes of one band of rows: 8 MB, which stay in the CPU cache


def transposed_conv2x(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)`, `weight` C,O,3,3."""
    out: Tensor = torch.ops.cyclegan.doubling_convolution(x, weight, bias)
    return out


def resize_conv2x(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest upsampling of `x`, then convolution with reflection padding; `weight` O,C,3,3."""
    out: Tensor = torch.ops.cyclegan.repeating_convolution(x, weight, bias)
    return out


torch.library.define("cyclegan::repeating_convolution", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
torch.library.define(
    "cyclegan::repeating_convolution_backward",
    "(Tensor gradient, Tensor x, Tensor weight) -> (Tensor, Tensor, Tensor)",
)
torch.library.define("cyclegan::doubling_convolution", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl("cyclegan::doubling_convolution", "CPU")
def _double(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous()
    matrix = weight.contiguous().flatten(1).T  # (O · 9, C)
    n, channels, height, width = x.shape
    outputs = weight.shape[1]
    out = x.new_empty(n, outputs, 2 * height, 2 * width)
    for picture, made in zip(x, out, strict=True):
        for top, bottom in bands(height, width, len(matrix), BAND):
            last = min(bottom + 1, height)
            planes = scratch("planes", len(matrix), (last - top) * width)
            torch.mm(matrix, picture[:, top:last].view(channels, -1), out=planes)
            call("doubled_of_planes", planes, bias, made, top, bottom, last - top, outputs, height, width)
    return out


@torch.library.register_fake("cyclegan::doubling_convolution")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), weight.shape[1], 2 * x.shape[2], 2 * x.shape[3])


@torch.library.impl("cyclegan::repeating_convolution", "CPU")
def _repeat(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous()
    matrix = by_plane(weight)
    n, channels, height, width = x.shape
    out = x.new_empty(n, len(weight), 2 * height, 2 * width)
    for picture, made in zip(x, out, strict=True):
        for top, bottom in bands(height, width, len(matrix), BAND):
            first, last = max(top - 1, 0), min(bottom + 1, height)
            planes = scratch("planes", len(matrix), (last - first) * width)
            torch.mm(matrix, picture[:, first:last].view(channels, -1), out=planes)
            where = (top, bottom, first, last - first, len(weight), height, width)
            call("repeated_of_planes", planes, bias, made, *where)
    return out


@torch.library.impl("cyclegan::repeating_convolution_backward", "CPU")
def _repeat_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias."""
    gradient, x = gradient.contiguous(), x.contiguous()
    matrix = by_plane(weight)
    d_matrix = torch.zeros_like(matrix)
    d_x = torch.empty_like(x)
    channels, height, width = x.shape[1:]
    for picture, arrived, target in zip(x, gradient, d_x, strict=True):
        for top, bottom in bands(height, width, len(matrix), BAND):
            planes = scratch("planes", len(matrix), (bottom - top) * width)
            call("repeated_of_planes_adjoint", arrived, planes, top, bottom - top, len(weight), height, width)
            torch.mm(matrix.T, planes, out=target[:, top:bottom].view(channels, -1))
            d_matrix.addmm_(planes, picture[:, top:bottom].view(channels, -1).T)
    d_weight = d_matrix.view(len(weight), 3, 3, channels).permute(0, 3, 1, 2)
    return d_x, d_weight.contiguous(), gradient.sum((0, 2, 3))


@torch.library.register_fake("cyclegan::repeating_convolution")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight), 2 * x.shape[2], 2 * x.shape[3])


@torch.library.register_fake("cyclegan::repeating_convolution_backward")
def _(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(len(weight))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    how = ([weight.shape[1]], [2, 2], [1, 1], [1, 1], True, [1, 1], 1)  # bias, stride, padding, dilation, transposed, …
    made: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, *how, list(ctx.needs_input_grad)
    )
    return made


def _repeat_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    d_x, d_weight, d_bias = torch.ops.cyclegan.repeating_convolution_backward(gradient, *ctx.saved_tensors)
    return d_x, d_weight, d_bias if ctx.needs_input_grad[2] else None


torch.library.register_autograd("cyclegan::repeating_convolution", _repeat_gradients, setup_context=_keep)
torch.library.register_autograd("cyclegan::doubling_convolution", _gradients, setup_context=_keep)
