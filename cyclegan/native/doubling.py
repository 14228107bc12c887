"""The transposed convolution that doubles a picture, as one product of matrices and a sum.

oneDNN reads and writes it with channels last, and turning the pictures around takes as long as computing them. The way
back is oneDNN's, which is quicker there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cyclegan.native.build import call
from cyclegan.native.scratch import scratch

BAND = 2**21  # numbers in the planes of one band of rows: 8 MB, which stay in the cache of a processor


def doubling(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)`, `weight` C,O,3,3."""
    out: Tensor = torch.ops.cyclegan.doubling_convolution(x, weight, bias)
    return out


torch.library.define("cyclegan::doubling_convolution", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl("cyclegan::doubling_convolution", "CPU")
def _double(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous()
    matrix = weight.contiguous().flatten(1).T  # (O · 9, C)
    n, channels, height, width = x.shape
    outputs = weight.shape[1]
    out = x.new_empty(n, outputs, 2 * height, 2 * width)
    rows = max(BAND // (len(matrix) * width), 4)
    for picture, made in zip(x, out, strict=True):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            last = min(bottom + 1, height)
            planes = scratch("planes", len(matrix), (last - top) * width)
            torch.mm(matrix, picture[:, top:last].view(channels, -1), out=planes)
            call("doubled_of_planes", planes, bias, made, top, bottom, last - top, outputs, height, width)
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
