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
from cyclegan.networks.kernels.planes import by_plane, gradients, products, register


def transposed_conv2x(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)`, `weight` C,O,3,3."""
    out: Tensor = torch.ops.cyclegan.doubling_convolution(x, weight, bias)
    return out


def resize_conv2x(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest upsampling of `x`, then convolution with reflection padding; `weight` O,C,3,3."""
    out: Tensor = torch.ops.cyclegan.repeating_convolution(x, weight, bias)
    return out


torch.library.define("cyclegan::doubling_convolution", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl("cyclegan::doubling_convolution", "CPU")
def _double(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs, (height, width) = weight.shape[1], x.shape[2:]
    out = x.new_empty(len(x), outputs, 2 * height, 2 * width)
    matrix = weight.contiguous().flatten(1).T  # (O · 9, C)
    for planes, made, top, bottom, _, rows in products(x.contiguous(), matrix, out, 0, 1):
        call("doubled_of_planes", planes, bias, made, top, bottom, rows, outputs, height, width)
    return out


@torch.library.register_fake("cyclegan::doubling_convolution")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), weight.shape[1], 2 * x.shape[2], 2 * x.shape[3])


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    how = ([weight.shape[1]], [2, 2], [1, 1], [1, 1], True, [1, 1], 1)  # bias, stride, padding, dilation, transposed, …
    made: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, *how, list(ctx.needs_input_grad)
    )
    return made


torch.library.register_autograd("cyclegan::doubling_convolution", _gradients, setup_context=_keep)


def _repeat(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs, (height, width) = len(weight), x.shape[2:]
    out = x.new_empty(len(x), outputs, 2 * height, 2 * width)
    for planes, made, *rows in products(x.contiguous(), by_plane(weight), out, 1, 1):
        call("repeated_of_planes", planes, bias, made, *rows, outputs, height, width)
    return out


def _repeat_backward(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    return gradients("repeated_of_planes_adjoint", (len(weight),), gradient, x, weight)


register("repeating_convolution", _repeat, _repeat_backward, 2)
