"""Generators and discriminators.

A new network is a class and a line in `GENERATORS` or `DISCRIMINATORS`. The classes take flat keyword arguments, each
with a default. Arguments of one network alone are declared in its `Options`, a dataclass of `cyclegan.config.option`
fields, and become options of `train`. `build_generator` and `build_discriminator` add initialisation and spectral norm.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from cyclegan.config import NoOptions
from cyclegan.errors import UsageError, lookup
from cyclegan.networks.kernels.build import load_kernels
from cyclegan.networks.layers import (
    Generator,
    GeneratorLike,
    HasKernel,
    Noise,
    NoiseGenerator,
    bound_lipschitz,
    check_generator,
    initialise,
)
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
    "GeneratorLike",
    "Noise",
    "NoiseGenerator",
    "arguments_of",
    "build_discriminator",
    "build_generator",
    "check_generator",
    "network_options",
    "pick_precision",
    "place_networks",
]

Network = TypeVar("Network", bound=nn.Module)
Built = TypeVar("Built", bound=Generator | NoiseGenerator | Discriminator)

GENERATORS: dict[str, Callable[..., Generator | NoiseGenerator]] = {
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
    name: str, *, spectral_norm: bool = False, init: str = "normal", init_gain: float = 0.02, **arguments: Any
) -> Any:
    """Build the generator `name` of `GENERATORS`, weights drawn from torch's global generator.

    `arguments` are those of its class: `in_channels`, `out_channels`, `channels`, `norm`, `dropout`, `upsampling` and
    its own options. It maps NCHW in [-1, 1] of any height and width from 1 to the same size; a `NoiseGenerator` maps
    noise to pictures. Its `spec` is a JSON-able dict from which this function rebuilds the architecture. Unknown names
    raise `UsageError`.
    """
    return _build(lookup(GENERATORS, name, "--generator"), name, spectral_norm, init, init_gain, arguments)


def build_discriminator(
    name: str, *, spectral_norm: bool = False, init: str = "normal", init_gain: float = 0.02, **arguments: Any
) -> Discriminator:
    """Build the discriminator `name` of `DISCRIMINATORS`, weights drawn from torch's global generator.

    `arguments` are those of its class: `in_channels`, `channels`, `norm` and its own options. It maps NCHW in [-1, 1]
    to raw scores (N, 1, h, w), `multiscale` to a list of these; `spec` rebuilds it. Unknown names, and pictures with a
    side below its `smallest`, raise `UsageError`.
    """
    make = lookup(DISCRIMINATORS, name, "--discriminator")
    return _build(make, name, spectral_norm, init, init_gain, arguments)


def arguments_of(make: Callable[..., nn.Module]) -> dict[str, Any]:
    """The keyword arguments of an entry of a network table, with their defaults."""
    bound = make.keywords if isinstance(make, partial) else {}
    parameters = inspect.signature(make).parameters.values()
    return {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY and item.name not in bound}


def network_options(make: Callable[..., nn.Module]) -> type:
    """The `Options` dataclass of an entry of a network table."""
    kind: type = getattr(make.func if isinstance(make, partial) else make, "Options", NoOptions)
    return kind


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The compute type of `--precision auto|fp32|bf16|fp16` on `device`.

    `auto` is bf16 where the hardware multiplies in bf16 (elsewhere it is emulated and slower than fp32), else fp32. A
    CPU with bf16 vectors but no bf16 tiles (AMX) multiplies twice as fast in bf16, but our fp32 kernels need only a
    quarter of the products, so they are preferred there. Raises `UsageError` for a type the device does not have.
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
    if device.type == "cpu":  # torch has no public function for this yet
        vectors, tiles = torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported()
        return tiles or (vectors and load_kernels() is None)
    return False


def place_networks(network: Network, device: torch.device, *, exact: bool) -> Network:
    """Move `network` to `device` in its fastest form there; returns it.

    On a CPU every `HasKernel` uses its kernel, unless `exact`, which allows only torch's own operators. Tensor cores
    need channels last everywhere, the kernels need it within a residual block; the other layers are slower with it on
    a CPU.
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


def _build(
    make: Callable[..., Built], name: str, spectral_norm: bool, init: str, init_gain: float, arguments: dict[str, Any]
) -> Built:
    network = make(**arguments)
    network.spec = {"name": name, **arguments_of(make), **arguments, "spectral_norm": spectral_norm}
    initialise(network, init, init_gain)
    if spectral_norm:
        bound_lipschitz(network)
    # True where a batch gives the same result as its pictures one by one, in training too
    network.per_sample = not (spectral_norm or any(isinstance(part, nn.BatchNorm2d) for part in network.modules()))
    return network
