"""Convolutions as matrix products over planes, one for each channel and kernel position.

Bands of rows keep the planes in the CPU cache, and bound the memory for a large picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cyclegan.networks.kernels.build import call
from cyclegan.networks.kernels.scratch import scratch

BAND = 2**21  # numbers in the planes of one band: 8 MB


def by_plane(weight: Tensor) -> Tensor:
    """O,C,k,k -> (O · k², C): the matrix that computes a plane for each output and kernel position."""
    return weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1])


def bands(height: int, width: int, planes: int) -> list[tuple[int, int]]:
    """Row ranges of bands, at least four rows each, in which `planes` planes hold about `BAND` values."""
    rows = max(BAND // (planes * width), 4)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def products(
    x: Tensor, matrix: Tensor, out: Tensor, above: int, below: int
) -> Iterator[tuple[Tensor, Tensor, int, int, int, int]]:
    """The planes of NCHW `x` by `matrix`, band by band, with so many rows above and below the band.

    Yields the planes, the picture of `out` to sum them into, the band's top and bottom, and the planes' first row and
    number of rows.
    """
    channels, height, width = x.shape[1:]
    for picture, made in zip(x, out, strict=True):
        for top, bottom in bands(height, width, len(matrix)):
            first, last = max(top - above, 0), min(bottom + below, height)
            planes = scratch("planes", len(matrix), (last - first) * width)
            torch.mm(matrix, picture[:, first:last].view(channels, -1), out=planes)
            yield planes, made, top, bottom, first, last - first


def gradients(
    adjoint: str, sizes: tuple[int, ...], gradient: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias; the kernel `adjoint`, given `sizes`, makes planes of a gradient."""
    gradient, x = gradient.contiguous(), x.contiguous()
    matrix = by_plane(weight)
    d_matrix = torch.zeros_like(matrix)
    d_x = torch.empty_like(x)
    channels, height, width = x.shape[1:]
    for picture, arrived, target in zip(x, gradient, d_x, strict=True):
        for top, bottom in bands(height, width, len(matrix)):
            planes = scratch("planes", len(matrix), (bottom - top) * width)
            call(adjoint, arrived, planes, top, bottom - top, *sizes, height, width)
            torch.mm(matrix.T, planes, out=target[:, top:bottom].view(channels, -1))
            d_matrix.addmm_(planes, picture[:, top:bottom].view(channels, -1).T)
    d_weight = d_matrix.view(len(weight), *weight.shape[2:], channels).permute(0, 3, 1, 2)
    return d_x, d_weight.contiguous(), gradient.sum((0, 2, 3))


def register(
    name: str,
    forward: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    backward: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]],
    scale: int,
) -> None:
    """Define the operator `cyclegan::name` of x, weight O,C,k,k and bias, which enlarges x `scale` times.

    `backward` takes the gradient of the result, x, weight, and False if no gradient of x is needed, and returns those
    of x, weight and bias. Not by torch.library.custom_op, whose first call imports the compiler: a second at every
    start.
    """
    operator, adjoint = f"cyclegan::{name}", f"cyclegan::{name}_backward"
    torch.library.define(operator, "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
    torch.library.define(
        adjoint, "(Tensor gradient, Tensor x, Tensor weight, bool to_input) -> (Tensor, Tensor, Tensor)"
    )
    torch.library.impl(operator, "CPU", forward)
    torch.library.impl(adjoint, "CPU", backward)

    def fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty(len(x), len(weight), scale * x.shape[2], scale * x.shape[3])

    def fake_adjoint(gradient: Tensor, x: Tensor, weight: Tensor, to_input: bool) -> tuple[Tensor, Tensor, Tensor]:
        d_x = x.new_empty(x.shape if to_input else 0)
        return d_x, weight.new_empty(weight.shape), weight.new_empty(len(weight))

    def keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1])

    def differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_input, _, to_bias = ctx.needs_input_grad
        made = getattr(torch.ops.cyclegan, f"{name}_backward")(gradient, *ctx.saved_tensors, to_input)
        return made[0] if to_input else None, made[1], made[2] if to_bias else None

    torch.library.register_fake(operator, fake)
    torch.library.register_fake(adjoint, fake_adjoint)
    torch.library.register_autograd(operator, differentiate, setup_context=keep)
