"""First and last convolution of a generator: a large kernel, few channels on one side.

oneDNN computes these at a fifteenth of its usual speed: three channels fill a fifth of a vector. As a matrix product
over channels and kernel positions they run at full speed; what remains is to gather or sum shifted planes
(`shifts.c`). Bands of rows keep the planes in the CPU cache, and bound the memory for a large picture.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.networks.kernels.build import call
from cyclegan.networks.kernels.scratch import bands, by_plane, scratch

BAND = 2**21  # numbers in the planes of one band: 8 MB


def conv_from_picture(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution of NCHW `x` with few channels: odd square kernel, stride 1, reflection padding."""
    out: Tensor = torch.ops.cyclegan.widening_convolution(x, weight, bias)
    return out


def conv_to_picture(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same convolution to few channels."""
    out: Tensor = torch.ops.cyclegan.narrowing_convolution(x, weight, bias)
    return out


for _name, _extra in (("widening", ", bool to_input"), ("narrowing", "")):
    torch.library.define(f"cyclegan::{_name}_convolution", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
    torch.library.define(
        f"cyclegan::{_name}_convolution_backward",
        f"(Tensor gradient, Tensor x, Tensor weight{_extra}) -> (Tensor, Tensor, Tensor)",
    )


@torch.library.impl("cyclegan::widening_convolution", "CPU")
def _widen(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    half = weight.shape[-1] // 2  # in this direction oneDNN is fast enough
    return F.conv2d(F.pad(x.contiguous(), (half,) * 4, mode="reflect"), weight.contiguous(), bias)


@torch.library.impl("cyclegan::widening_convolution_backward", "CPU")
def _widen_backward(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x (empty unless `to_input`), weight and bias."""
    gradient, x = gradient.contiguous(), x.contiguous()
    matrix = weight.contiguous().flatten(1)
    d_matrix = torch.zeros_like(matrix)
    d_x = torch.zeros_like(x) if to_input else x.new_empty(0)
    channels, height, width = x.shape[1:]
    for number, (picture, arrived) in enumerate(zip(x, gradient, strict=True)):
        for top, bottom in bands(height, width, matrix.shape[1], BAND):
            band = arrived[:, top:bottom].view(len(matrix), -1)
            d_matrix.addmm_(band, _planes(picture, weight, top, bottom).T)
            if to_input:
                planes = scratch("planes", matrix.shape[1], band.shape[1])
                torch.mm(matrix.T, band, out=planes)
                where = (top, bottom, channels, weight.shape[-1], height, width)
                call("planes_of_picture_adjoint", planes, d_x[number], *where)
    return d_x, d_matrix.view_as(weight), gradient.sum((0, 2, 3))


@torch.library.impl("cyclegan::narrowing_convolution", "CPU")
def _narrow(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous()
    matrix = by_plane(weight)
    n, channels, height, width = x.shape
    outputs, kernel = len(weight), weight.shape[-1]
    out = x.new_empty(n, outputs, height, width)
    for picture, made in zip(x, out, strict=True):
        for top, bottom in bands(height, width, len(matrix), BAND):
            first, last = max(top - kernel // 2, 0), min(bottom + kernel // 2, height)
            planes = scratch("planes", len(matrix), (last - first) * width)
            torch.mm(matrix, picture[:, first:last].view(channels, -1), out=planes)
            where = (top, bottom, first, last - first, outputs, kernel, height, width)
            call("picture_of_planes", planes, made, *where)
    return out if bias is None else out.add_(bias[:, None, None])


@torch.library.impl("cyclegan::narrowing_convolution_backward", "CPU")
def _narrow_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias."""
    gradient, x = gradient.contiguous(), x.contiguous()
    matrix = by_plane(weight)
    d_matrix = torch.zeros_like(matrix)
    d_x = torch.empty_like(x)
    channels, height, width = x.shape[1:]
    outputs, kernel = len(weight), weight.shape[-1]
    for picture, arrived, target in zip(x, gradient, d_x, strict=True):
        for top, bottom in bands(height, width, len(matrix), BAND):
            planes = scratch("planes", len(matrix), (bottom - top) * width)
            where = (top, bottom - top, outputs, kernel, height, width)
            call("picture_of_planes_adjoint", arrived, planes, *where)
            torch.mm(matrix.T, planes, out=target[:, top:bottom].view(channels, -1))
            d_matrix.addmm_(planes, picture[:, top:bottom].view(channels, -1).T)
    d_weight = d_matrix.view(outputs, kernel, kernel, channels).permute(0, 3, 1, 2)
    return d_x, d_weight.contiguous(), gradient.sum((0, 2, 3))


@torch.library.register_fake("cyclegan::widening_convolution")
@torch.library.register_fake("cyclegan::narrowing_convolution")
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight), *x.shape[2:])


@torch.library.register_fake("cyclegan::widening_convolution_backward")
def _(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    d_x = x.new_empty(x.shape) if to_input else x.new_empty(0)
    return d_x, weight.new_empty(weight.shape), weight.new_empty(len(weight))


@torch.library.register_fake("cyclegan::narrowing_convolution_backward")
def _(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(len(weight))


Context = Any  # of torch.autograd, which is untyped


def _keep(ctx: Context, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _widen_gradients(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
    d_x, d_weight, d_bias = torch.ops.cyclegan.widening_convolution_backward(
        gradient, *ctx.saved_tensors, ctx.needs_input_grad[0]
    )
    return d_x if ctx.needs_input_grad[0] else None, d_weight, d_bias if ctx.needs_input_grad[2] else None


def _narrow_gradients(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
    d_x, d_weight, d_bias = torch.ops.cyclegan.narrowing_convolution_backward(gradient, *ctx.saved_tensors)
    return d_x, d_weight, d_bias if ctx.needs_input_grad[2] else None


torch.library.register_autograd("cyclegan::widening_convolution", _widen_gradients, setup_context=_keep)
torch.library.register_autograd("cyclegan::narrowing_convolution", _narrow_gradients, setup_context=_keep)


def _planes(picture: Tensor, weight: Tensor, top: int, bottom: int) -> Tensor:
    """(channels · kernel², pixels of the band): the band shifted to every kernel position."""
    channels, height, width = picture.shape
    kernel = weight.shape[-1]
    planes = scratch("planes", channels * kernel**2, (bottom - top) * width)
    call("planes_of_picture", picture, planes, top, bottom, channels, kernel, height, width)
    return planes
