"""Training methods: one file each with its options dataclass, and an entry in `METHODS`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import field, fields, make_dataclass, replace
from typing import Any, cast

from torch import nn

from cyclegan.config import TrainConfig, flatten
from cyclegan.config.options import types_of
from cyclegan.directions import Direction
from cyclegan.errors import UsageError, lookup
from cyclegan.methods.base import Images, KeepsFakes, Method
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.networks import (
    DISCRIMINATORS,
    GENERATORS,
    Discriminator,
    NoiseGenerator,
    arguments_of,
    build_discriminator,
    build_generator,
    network_options,
)

__all__ = ["METHODS", "Images", "KeepsFakes", "Method", "build_method", "options_for", "options_of", "with_networks"]

METHODS: dict[str, type[Method]] = {
    "cyclegan": CycleGAN,
}

AUTO = "auto"  # for a network: the method's default


def options_of(method: str, generator: str = AUTO, discriminator: str = AUTO) -> type:
    """A dataclass of the options of a method and its networks; `UsageError` for unknown names."""
    kind = lookup(METHODS, method, "--method")
    networks = (
        lookup(GENERATORS, kind.generator if generator == AUTO else generator, "--generator"),
        lookup(DISCRIMINATORS, kind.discriminator if discriminator == AUTO else discriminator, "--discriminator"),
    )
    return _merged(kind.Options, *(network_options(make) for make in networks))


def options_for(config: TrainConfig) -> type:
    """`options_of` the method and the networks of `config`."""
    return options_of(config.method, config.generator, config.discriminator)


@functools.cache
def _merged(*owners: type) -> type:
    """Merge the fields of several dataclasses into one."""
    declared = {
        item.name: (item.name, types_of(owner)[item.name], field(default=item.default, metadata=item.metadata))
        for owner in owners
        for item in fields(owner)
    }
    return owners[0] if len(declared) == len(fields(owners[0])) else make_dataclass("MergedOptions", declared.values())


def with_networks(config: TrainConfig) -> TrainConfig:
    """`config` with `auto` networks replaced by the method's defaults."""
    kind = lookup(METHODS, config.method, "--method")
    own = {name: getattr(kind, name) for name in ("generator", "discriminator") if getattr(config, name) == AUTO}
    return replace(config, **own)


def build_method(config: TrainConfig, channels: Mapping[str, int] | None = None) -> Method:
    """Build the method of `config`, its networks initialised from torch's global generator.

    `channels` is the number of image channels of each domain, by default three. Raises `UsageError` for networks that
    do not suit the method, the options or --crop-size.
    """
    config = with_networks(config)
    kind = lookup(METHODS, config.method, "--method")
    values = flatten(config, options_for(config))
    channels = channels or dict.fromkeys(kind.domains, 3)

    def make_generator(key: str, **options: Any) -> nn.Module:
        direction, make = Direction.parse(key), lookup(GENERATORS, config.generator, "--generator")
        if direction.from_noise is not _takes_noise(make):
            takes, gives = ("pictures", "noise") if direction.from_noise else ("noise", "pictures")
            raise UsageError(
                f"--generator {config.generator}: takes {takes}, and --method {config.method} gives it {gives}; "
                f"use {kind.generator}"
            )
        shapes = {"in_channels": channels.get(direction.source), "out_channels": channels[direction.target]}
        shapes["size"] = config.crop_size
        return cast(nn.Module, build_generator(config.generator, **_arguments(make, config, values, shapes) | options))

    def make_discriminator(domain: str, **options: Any) -> Discriminator:
        make = lookup(DISCRIMINATORS, config.discriminator, "--discriminator")
        arguments = _arguments(make, config, values, {"in_channels": channels[domain]}) | options
        return build_discriminator(config.discriminator, spectral_norm=config.spectral_norm, **arguments)

    method = kind(make_generator, make_discriminator, **{item.name: values[item.name] for item in fields(kind.Options)})
    smallest = max((cast(Discriminator, network).smallest for network in method.discriminators.values()), default=0)
    if config.crop_size < smallest:
        raise UsageError(
            f"--crop-size {config.crop_size} is smaller than --discriminator {config.discriminator} can judge; "
            f"give at least {smallest}, or another discriminator"
        )
    return method


def _takes_noise(make: Callable[..., nn.Module]) -> bool:
    kind = make.func if isinstance(make, functools.partial) else make
    return isinstance(kind, type) and issubclass(kind, NoiseGenerator)


def _arguments(
    make: Callable[..., nn.Module], config: TrainConfig, values: Mapping[str, Any], shapes: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments for the entry `make` of a table of networks: those of `shapes` and `values` that it accepts."""
    known = ("channels", "norm", "dropout", "upsampling", *(item.name for item in fields(network_options(make))))
    offered = {**shapes, **{name: values[name] for name in known}}
    return {"init": config.init} | {name: offered[name] for name in arguments_of(make) if name in offered}
