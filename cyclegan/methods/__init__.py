"""The games that can be played. A new one is a file here, its options dataclass, and one line in `METHODS`."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import cast

from cyclegan.config import TrainConfig, flatten
from cyclegan.errors import UsageError, choose
from cyclegan.methods.base import Images, Losses, Method
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.networks import Discriminator, build_discriminator, build_generator

__all__ = ["METHODS", "CycleGAN", "Images", "Losses", "Method", "build_method", "options_of"]

METHODS: dict[str, type[Method]] = {
    "cyclegan": CycleGAN,
}


def options_of(name: str) -> type:
    """The options dataclass of the method called `name`; `UsageError` when there is none."""
    return choose(METHODS, name, "--method").Options


def build_method(config: TrainConfig) -> Method:
    """The game of `config` with freshly initialised players, drawn from torch's global generator."""
    make_generator = partial(
        build_generator,
        config.generator,
        channels=config.channels,
        norm=config.norm,
        dropout=config.dropout,
        upsampling=config.upsampling,
        init=config.init,
    )
    make_discriminator = partial(
        build_discriminator,
        config.discriminator,
        channels=config.channels,
        norm=config.norm,
        spectral_norm=config.spectral_norm,
        init=config.init,
    )
    chosen = choose(METHODS, config.method, "--method")
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
