"""Residual block as one operator with its own gradient.

Only a block's input, its output and the result of the first convolution are kept for the backward pass, and the output
is the next block's input: two pictures, where separate layers keep five and padded copies. A normalised picture is
recomputed where it is needed; the last one is the output minus the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cyclegan.networks.kernels.build import call
from cyclegan.networks.kernels.scratch import scratch

TILES = 512  # computed at a time: their scratch, 19 MB for 256 channels, stays in the CPU cache
LANES = 16  # as in vectors.h; channels are multiples of it

Stats = Callable[[Tensor], tuple[Tensor, Tensor]]
Normalisation = Sequence[Tensor] | Tensor | tuple[None, None]  # mean and scale, (N, C) each
UNCHANGED = (None, None)


def residual_block(x: Tensor, first: Tensor, second: Tensor, eps: float) -> Tensor:
    """Residual block x + norm(conv(relu(norm(conv(x))))), N,C,H,W; 3×3 kernels, reflection padding.

    Equal to separate layers up to rounding, about 1e-5 of the deviation of the result (Winograd's transform cancels
    more digits than the sum of products does).
    """
    out: Tensor = torch.ops.cyclegan.residual_block(x, first, second, eps)[0]
    return out


def shared_residual_block(x: Tensor, first: Tensor, second: Tensor, of_first: Stats, of_second: Stats) -> Tensor:
    """The same block without gradient, normalised by given statistics.

    `of_first` and `of_second` map the results of the two convolutions, N,C,H,W, to mean and scale, (N,C) each.
    """
    x = _nhwc(x)
    n, c, height, width = x.shape
    made = _convolve(x, UNCHANGED, _nhwc(first))
    out = _convolve(made, of_first(made), _nhwc(second))
    call("add_normalised", x, out, *of_second(out), out, n, height * width, c)
    return out


# Not torch.library.custom_op, whose first call imports the compiler: a second at every start
torch.library.define(
    "cyclegan::residual_block", "(Tensor x, Tensor first, Tensor second, float eps) -> (Tensor, Tensor, Tensor)"
)
torch.library.define(
    "cyclegan::residual_block_backward",
    "(Tensor gradient, Tensor x, Tensor first, Tensor second, Tensor out, Tensor made, Tensor statistics)"
    " -> (Tensor, Tensor, Tensor)",
)


@torch.library.impl("cyclegan::residual_block", "CPU")
def _block(x: Tensor, first: Tensor, second: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The output, the first convolution's result, and (its mean, its scale, the second's scale; N, C)."""
    x = _nhwc(x)
    n, c, height, width = x.shape
    mean, statistics = x.new_empty(n, c), x.new_empty(3, n, c)
    made = _convolve(x, UNCHANGED, _nhwc(first))
    call("statistics", made, *statistics[:2], eps, n, height * width, c)
    out = _convolve(made, statistics[:2], _nhwc(second))
    call("statistics", out, mean, statistics[2], eps, n, height * width, c)
    call("add_normalised", x, out, mean, statistics[2], out, n, height * width, c)
    return out, made, statistics


@torch.library.register_fake("cyclegan::residual_block")
def _(x: Tensor, first: Tensor, second: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    like = torch.empty_like(x, memory_format=torch.channels_last)
    return like, torch.empty_like(like), x.new_empty(3, *x.shape[:2])


@torch.library.impl("cyclegan::residual_block_backward", "CPU")
def _block_backward(
    gradient: Tensor, x: Tensor, first: Tensor, second: Tensor, out: Tensor, made: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, first and second."""
    gradient, x = _nhwc(gradient), _nhwc(x)
    n, c, height, width = x.shape
    shape = (n, height * width, c)
    inner = torch.empty_like(x)
    call("added_norm_adjoint", gradient, out, x, statistics[2], inner, *shape)
    between = torch.zeros_like(x)
    d_second = _convolve_adjoint(inner, made, statistics[:2], _nhwc(second), between)
    call("rectified_norm_adjoint", between, made, *statistics[:2], inner, *shape)
    d_x = gradient.clone()  # the gradient of the residual sum
    d_first = _convolve_adjoint(inner, x, UNCHANGED, _nhwc(first), d_x)
    return d_x, d_first, d_second


@torch.library.register_fake("cyclegan::residual_block_backward")
def _(
    gradient: Tensor, x: Tensor, first: Tensor, second: Tensor, out: Tensor, made: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    layout = torch.channels_last
    return tuple(torch.empty_like(t, memory_format=layout) for t in (x, first, second))  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
    return *torch.ops.cyclegan.residual_block_backward(gradient, *ctx.saved_tensors), None


torch.library.register_autograd("cyclegan::residual_block", _backward, setup_context=_keep)


def _convolve(x: Tensor, normalisation: Normalisation, kernel: Tensor) -> Tensor:
    """Convolution of NHWC `x`, after `normalisation` and ReLU if given."""
    n, c, height, width = x.shape
    transformed = _transformed(kernel)
    out = torch.empty_like(x)
    for start, stop in _chunks(n, height, width):
        tiles, products = (scratch(name, 36, stop - start, c) for name in ("tiles", "products"))
        call("tiles_of_input", x, *normalisation, tiles, start, stop, height, width, c)
        torch.bmm(tiles, transformed.mT, out=products)
        call("output_of_tiles", products, out, start, stop, height, width, c)
    return out


def _convolve_adjoint(
    gradient: Tensor, x: Tensor, normalisation: Normalisation, kernel: Tensor, d_input: Tensor
) -> Tensor:
    """Gradient of `_convolve`: adds that of the convolved input to `d_input`, returns the kernel's."""
    n, c, height, width = x.shape
    transformed = _transformed(kernel)
    d_transformed = scratch("d_transformed", *transformed.shape)
    for start, stop in _chunks(n, height, width):
        tiles, d_products = (scratch(name, 36, stop - start, c) for name in ("tiles", "products"))
        call("output_of_tiles_adjoint", gradient, d_products, start, stop, height, width, c)
        call("tiles_of_input", x, *normalisation, tiles, start, stop, height, width, c)
        if start == 0:
            torch.bmm(d_products.mT, tiles, out=d_transformed)
        else:
            d_transformed.baddbmm_(d_products.mT, tiles)
        torch.bmm(d_products, transformed, out=tiles)
        call("tiles_of_input_adjoint", tiles, d_input, start, stop, height, width, c)
    d_kernel = torch.empty_like(kernel)
    call("weights_adjoint", d_transformed, d_kernel, *kernel.shape[:2])
    return d_kernel


def _transformed(kernel: Tensor) -> Tensor:
    outputs, c = kernel.shape[:2]
    transformed = scratch("transformed", 36, outputs, c)
    call("weights", kernel, transformed, outputs, c)
    return transformed


def _chunks(n: int, height: int, width: int) -> list[tuple[int, int]]:
    tiles = n * -(-height // 4) * -(-width // 4)
    return [(start, min(start + TILES, tiles)) for start in range(0, tiles, TILES)]


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
