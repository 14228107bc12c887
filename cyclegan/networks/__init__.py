"""The players: generators that repaint pictures and discriminators that judge them.

A new one is a class and a line in `GENERATORS` or `DISCRIMINATORS`. Their classes take flat keyword arguments;
`build_generator` and `build_discriminator` add what is done to a finished network of any kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from cyclegan.errors import UsageError, lookup
from cyclegan.networks.kernels import load_kernels
from cyclegan.networks.layers import Generator, HasKernel, bound_lipschitz, initialise
from cyclegan.networks.patchgan import (
    Discriminator,
    MultiscaleDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
)
from cyclegan.networks.resnet import ResidualBlock, ResNetGenerator
from cyclegan.networks.unet import UNetGenerator
from cyclegan.system.devices import DTYPES

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "Discriminator",
    "Generator",
    "build_discriminator",
    "build_generator",
    "place_networks",
]

Network = TypeVar("Network", bound=nn.Module)
Player = TypeVar("Player", Generator, Discriminator)

GENERATORS: dict[str, Callable[..., Generator]] = {
    "resnet_9blocks": partial(ResNetGenerator, blocks=9),
    "resnet_6blocks": partial(ResNetGenerator, blocks=6),
    "unet_256": partial(UNetGenerator, depth=8),
    "unet_128": partial(UNetGenerator, depth=7),
}

DISCRIMINATORS: dict[str, Callable[..., Discriminator]] = {
    "patch": PatchDiscriminator,
    "pixel": PixelDiscriminator,
    "multiscale": MultiscaleDiscriminator,
}


def build_generator(
    name: str,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    channels: int = 64,
    norm: str = "instance",
    dropout: bool = False,
    upsampling: str = "transposed",
    spectral_norm: bool = False,
    init: str = "normal",
    init_gain: float = 0.02,
) -> Generator:
    """The generator `name` of `GENERATORS` with weights drawn from torch's global generator.

    It maps NCHW in [-1, 1] of any height and width from 1 to the same size. Its `spec` is a JSON-able dict with
    which this function builds the same architecture again. Unknown names raise `UsageError`.
    """
    spec = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": channels,
        "norm": norm,
        "dropout": dropout,
        "upsampling": upsampling,
    }
    network = lookup(GENERATORS, name, "--generator")(**spec)
    network.spec = {"name": name, **spec, "spectral_norm": spectral_norm}
    return _finish(network, spectral_norm, init, init_gain)


def build_discriminator(
    name: str,
    *,
    in_channels: int = 3,
    channels: int = 64,
    norm: str = "instance",
    spectral_norm: bool = False,
    init: str = "normal",
    init_gain: float = 0.02,
) -> Discriminator:
    """The discriminator `name` of `DISCRIMINATORS` with weights drawn from torch's global generator.

    It maps NCHW in [-1, 1] to raw verdicts (N, 1, h, w), `multiscale` to a list of such. Unknown names, and pictures
    with a side below its `smallest`, raise `UsageError`.
    """
    network = lookup(DISCRIMINATORS, name, "--discriminator")(in_channels=in_channels, channels=channels, norm=norm)
    return _finish(network, spectral_norm, init, init_gain)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The compute type of `--precision auto|fp32|bf16|fp16` on `device`.

    `auto` is bf16 where the hardware multiplies in it (where it does not, it is emulated and slower than fp32),
    else fp32. A processor with bf16 vectors but no bf16 tiles (AMX) multiplies twice as fast in bf16, and our kernels
    take a quarter of the products, so they come first there. Raises `UsageError` for a type the device does not have.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    if name not in DTYPES:
        raise UsageError(f"--precision: unknown value {name!r}; use auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError(
            "--precision fp16: processors compute it slowly and imprecisely; use auto, bf16 or fp32 on the CPU"
        )
    return DTYPES[name]


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # no public questions for it yet
        vectors, tiles = torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported()
        return tiles or (vectors and load_kernels() is None)
    return False


def place_networks(network: Network, device: torch.device, *, exact: bool) -> Network:
    """Move `network` to `device` in the form that it computes fastest there; returns it.

    Unless `exact`, where only torch's own operators are used, a processor takes every `HasKernel` there is a kernel
    for. Tensor cores want channels last everywhere, the kernels within a residual block; the other layers are slower
    for it on a processor.
    """
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    fast = device.type == "cpu" and not exact and load_kernels() is not None
    for module in network.modules():
        if isinstance(module, HasKernel):
            module.use_kernel = fast
            if fast and isinstance(module, ResidualBlock):
                module.to(memory_format=torch.channels_last)
    return network


def _finish(network: Player, spectral_norm: bool, init: str, init_gain: float) -> Player:
    initialise(network, init, init_gain)
    if spectral_norm:
        bound_lipschitz(network)
    # Whether a batch is computed as its pictures one by one would be, in training too
    network.per_sample = not (spectral_norm or any(isinstance(part, nn.BatchNorm2d) for part in network.modules()))
    return network
