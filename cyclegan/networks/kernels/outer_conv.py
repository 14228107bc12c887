"""First and last convolution of a generator: a large kernel, few channels on one side.

oneDNN computes these at a fifteenth of its usual speed: three channels fill a fifth of a vector. As a matrix product
over channels and kernel positions they run at full speed; what remains is to gather or sum shifted planes
(`shifts.c`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.networks.kernels.build import call
from cyclegan.networks.kernels.planes import bands, by_plane, gradients, products, register
from cyclegan.networks.kernels.scratch import scratch


def conv_from_picture(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution of NCHW `x` with few channels: odd square kernel, stride 1, reflection padding."""
    out: Tensor = torch.ops.cyclegan.widening_convolution(x, weight, bias)
    return out


def conv_to_picture(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same convolution to few channels."""
    out: Tensor = torch.ops.cyclegan.narrowing_convolution(x, weight, bias)
    return out


def _widen(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    half = weight.shape[-1] // 2  # in this direction oneDNN is fast enough
    return F.conv2d(F.pad(x.contiguous(), (half,) * 4, mode="reflect"), weight.contiguous(), bias)


def _widen_backward(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    gradient, x = gradient.contiguous(), x.contiguous()
    matrix = weight.contiguous().flatten(1)
    d_matrix = torch.zeros_like(matrix)
    d_x = torch.zeros_like(x) if to_input else x.new_empty(0)
    height, width = x.shape[2:]
    for number, (picture, arrived) in enumerate(zip(x, gradient, strict=True)):
        for top, bottom in bands(height, width, matrix.shape[1]):
            where = (top, bottom, x.shape[1], weight.shape[-1], height, width)
            band = arrived[:, top:bottom].view(len(matrix), -1)
            # (channels · kernel², pixels of the band): the band shifted to every kernel position
            planes = scratch("planes", matrix.shape[1], band.shape[1])
            call("planes_of_picture", picture, planes, *where)
            d_matrix.addmm_(band, planes.T)
            if to_input:
                torch.mm(matrix.T, band, out=planes)
                call("planes_of_picture_adjoint", planes, d_x[number], *where)
    return d_x, d_matrix.view_as(weight), gradient.sum((0, 2, 3))


def _narrow(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs, kernel, (height, width) = len(weight), weight.shape[-1], x.shape[2:]
    out = x.new_empty(len(x), outputs, height, width)
    for planes, made, *rows in products(x.contiguous(), by_plane(weight), out, kernel // 2, kernel // 2):
        call("picture_of_planes", planes, made, *rows, outputs, kernel, height, width)
    return out if bias is None else out.add_(bias[:, None, None])


def _narrow_backward(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    return gradients("picture_of_planes_adjoint", (len(weight), weight.shape[-1]), gradient, x, weight)


register("widening_convolution", _widen, _widen_backward, 1)
register("narrowing_convolution", _narrow, _narrow_backward, 1)
