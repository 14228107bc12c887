"""The games that can be played. A new one is a file here, its options dataclass, and one line in `METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from cyclegan.config import TrainConfig, flatten
from cyclegan.errors import UsageError, lookup
from cyclegan.methods.base import Images, Losses, Method
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.networks import Discriminator, Generator, build_discriminator, build_generator

__all__ = ["METHODS", "CycleGAN", "Images", "Losses", "Method", "build_method", "options_of"]

RGB: Mapping[str, int] = {"a": 3, "b": 3}

METHODS: dict[str, type[Method]] = {
    "cyclegan": CycleGAN,
}


def options_of(name: str) -> type:
    """The options dataclass of the method called `name`; `UsageError` when there is none."""
    return lookup(METHODS, name, "--method").Options


def build_method(config: TrainConfig, channels: Mapping[str, int] = RGB) -> Method:
    """The game of `config` with freshly initialised players, drawn from torch's global generator.

    `channels` are those of the pictures of domain "a" and "b".
    """

    def make_generator(direction: str = "ab", **options: Any) -> Generator:
        settings = {
            "in_channels": channels[direction[0]],
            "out_channels": channels[direction[1]],
            "channels": config.channels,
            "norm": config.norm,
            "dropout": config.dropout,
            "upsampling": config.upsampling,
            "init": config.init,
        }
        return build_generator(config.generator, **(settings | options))

    def make_discriminator(domain: str = "b", **options: Any) -> Discriminator:
        settings = {
            "in_channels": channels[domain],
            "channels": config.channels,
            "norm": config.norm,
            "spectral_norm": config.spectral_norm,
            "init": config.init,
        }
        return build_discriminator(config.discriminator, **(settings | options))

    chosen = lookup(METHODS, config.method, "--method")
    values = flatten(config, chosen.Options)
    options = {item.name: values[item.name] for item in fields(chosen.Options)}
    method = chosen(make_generator, make_discriminator, **options)
    smallest = max(cast(Discriminator, judge).smallest for judge in method.discriminators.values())
    if config.crop_size < smallest:
        raise UsageError(
            f"--crop-size {config.crop_size} is smaller than --discriminator {config.discriminator} can judge; "
            f"give at least {smallest}, or another discriminator"
        )
    return method
