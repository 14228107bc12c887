"""The residual block as one operator with a gradient of its own.

Of a block only its input and what each convolution made are kept for the way back, three pictures where the layers one
by one keep five and copies with their padding: the normalised picture is made again where it is read.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

from cyclegan.native.build import call

TILES = 512  # computed at a time: their scratch, 19 MB for 256 channels, stays in the cache of a processor
LANES = 16  # as in vectors.h: channels come in multiples of it
_local = threading.local()  # scratch of each thread


def residual_block(x: Tensor, first: Tensor, second: Tensor, eps: float) -> Tensor:
    """X + norm(conv(relu(norm(conv(x))))), N,C,H,W, with 3×3 kernels `first` and `second` that mirror the edge.

    Equal to the layers one by one but for rounding, about 1e-5 of the deviation of the result (Winograd's transform
    cancels more digits than the sum of products does).
    """
    out: Tensor = _block(x, first, second, eps)[0]
    return out


@torch.library.custom_op("cyclegan::residual_block", mutates_args=())
def _block(x: Tensor, first: Tensor, second: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The result, what both convolutions made, and their means and scales (4, N, C)."""
    x = _nhwc(x)
    n, c, height, width = x.shape
    statistics = x.new_empty(4, n, c)
    made = _convolve(x, None, _nhwc(first))
    _measure(made, statistics[:2], eps)
    remade = _convolve(made, statistics[:2], _nhwc(second))
    _measure(remade, statistics[2:], eps)
    out = torch.empty_like(x)
    call("add_normalised", x, remade, *statistics[2:], out, n, height * width, c)
    return out, made, remade, statistics


@_block.register_fake
def _(x: Tensor, first: Tensor, second: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    like = torch.empty_like(x, memory_format=torch.channels_last)
    return like, torch.empty_like(like), torch.empty_like(like), x.new_empty(4, *x.shape[:2])


@torch.library.custom_op("cyclegan::residual_block_backward", mutates_args=())
def _block_backward(
    gradient: Tensor, x: Tensor, first: Tensor, second: Tensor, made: Tensor, remade: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, first and second."""
    gradient, x = _nhwc(gradient), _nhwc(x)
    n, c, height, width = x.shape
    shape = (n, height * width, c)
    inner = torch.empty_like(x)
    call("normalised_adjoint", gradient, remade, *statistics[2:], inner, 0, *shape)
    between = torch.zeros_like(x)
    d_second = _convolve_adjoint(inner, made, statistics[:2], _nhwc(second), between)
    call("normalised_adjoint", between, made, *statistics[:2], inner, 1, *shape)
    d_x = gradient.clone()  # the sum that goes around the convolutions
    d_first = _convolve_adjoint(inner, x, None, _nhwc(first), d_x)
    return d_x, d_first, d_second


@_block_backward.register_fake
def _(
    gradient: Tensor, x: Tensor, first: Tensor, second: Tensor, made: Tensor, remade: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    layout = torch.channels_last
    return tuple(torch.empty_like(t, memory_format=layout) for t in (x, first, second))  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:3], *output[1:])


def _backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
    return *_block_backward(gradient, *ctx.saved_tensors), None


_block.register_autograd(_backward, setup_context=_keep)


def _convolve(x: Tensor, normalisation: Tensor | None, kernel: Tensor) -> Tensor:
    """The convolution of NHWC `x`, or of what `normalisation` (2, N, C) and ReLU make of it."""
    n, c, height, width = x.shape
    transformed = _transformed(kernel)
    out = torch.empty_like(x)
    for start, stop in _chunks(n, height, width):
        tiles, products = (_scratch(name, 36, stop - start, c) for name in ("tiles", "products"))
        call("tiles_of_input", x, *_both(normalisation), tiles, start, stop, height, width, c)
        torch.bmm(tiles, transformed.mT, out=products)
        call("output_of_tiles", products, out, start, stop, height, width, c)
    return out


def _convolve_adjoint(
    gradient: Tensor, x: Tensor, normalisation: Tensor | None, kernel: Tensor, d_input: Tensor
) -> Tensor:
    """Gradient of `_convolve`: added to `d_input` that of what was convolved, returned that of the kernel."""
    n, c, height, width = x.shape
    transformed = _transformed(kernel)
    d_transformed = _scratch("d_transformed", *transformed.shape)
    for start, stop in _chunks(n, height, width):
        tiles, d_products = (_scratch(name, 36, stop - start, c) for name in ("tiles", "products"))
        call("output_of_tiles_adjoint", gradient, d_products, start, stop, height, width, c)
        call("tiles_of_input", x, *_both(normalisation), tiles, start, stop, height, width, c)
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
    transformed = _scratch("transformed", 36, outputs, c)
    call("weights", kernel, transformed, outputs, c)
    return transformed


def _measure(x: Tensor, into: Tensor, eps: float) -> None:
    n, c, height, width = x.shape
    call("statistics", x, *into, eps, n, height * width, c)


def _chunks(n: int, height: int, width: int) -> list[tuple[int, int]]:
    tiles = n * -(-height // 4) * -(-width // 4)
    return [(start, min(start + TILES, tiles)) for start in range(0, tiles, TILES)]


def _scratch(name: str, *shape: int) -> Tensor:
    """Memory that is written before it is read and forgotten after: always the same, so that it stays in the cache.

    Fresh memory would have to be fetched from the operating system page by page, which takes longer than the use.
    """
    size = math.prod(shape)
    held: dict[str, Tensor] = _local.__dict__
    if name not in held or held[name].numel() < size:
        held[name] = torch.empty(size)
    return held[name][:size].view(shape)


def _both(pair: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if pair is None else (pair[0], pair[1])


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
