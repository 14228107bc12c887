"""Resolution of presets, files, environment and flags to one config, and back to a flat dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from cyclegan.config.options import check_values, convert, converted, words_of
from cyclegan.config.presets import overlay
from cyclegan.config.train_config import PICTURE_FOLDERS, TrainConfig
from cyclegan.errors import UsageError


def resolve(layers: Sequence[Mapping[str, Any]], method_options: type | None = None) -> TrainConfig:
    """The config of merged flat `layers`; later ones override earlier ones.

    `method_options` is the options dataclass of the chosen method. Unknown keys, values of the wrong type and
    contradictions within one layer raise `UsageError`.
    """
    merged = overlay(layers, known_keys(method_options), PICTURE_FOLDERS)
    own = {item.name for item in fields(TrainConfig)}
    options = {key: merged.pop(key) for key in list(merged) if key not in own}
    if method_options is not None:
        options = {key: convert(method_options, key, value) for key, value in options.items()}
        check_values(method_options(**options))
    return TrainConfig(**converted(TrainConfig, merged), options=options)


def known_keys(method_options: type | None = None) -> set[str]:
    """Flat keys that a config may hold."""
    keys = {item.name for item in fields(TrainConfig)} - {"options"}
    return keys | ({item.name for item in fields(method_options)} if method_options else set())


def flatten(config: TrainConfig, method_options: type | None = None) -> dict[str, Any]:
    """Inverse of `resolve`: a flat dict; with `method_options`, including their defaults."""
    values = {item.name: getattr(config, item.name) for item in fields(config) if item.name != "options"}
    for item in fields(config):
        for word, held in words_of(item).items():
            values[item.name] = word if values[item.name] == held else values[item.name]
    defaults = {item.name: item.default for item in fields(method_options)} if method_options else {}
    return values | defaults | dict(config.options)


def in_steps(config: TrainConfig, steps_per_epoch: int) -> TrainConfig:
    """The same config with its length in steps, the only unit of the training loop."""
    if config.steps is not None:
        decay = config.steps // 2 if config.decay_steps is None else config.decay_steps
        if decay > config.steps:
            raise UsageError(f"--decay-steps {decay} is more than --steps {config.steps}; lower it")
        return replace(config, decay_steps=decay)
    steady, decay = ((count or 0) * steps_per_epoch for count in (config.epochs, config.decay_epochs))
    return replace(config, steps=steady + decay, decay_steps=decay, epochs=None, decay_epochs=None)
