"""From presets, files, environment and flags, laid over each other, to one config; and back to a flat dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from cyclegan.config.options import check_values, convert, flags, words_of
from cyclegan.config.train_config import PICTURE_FOLDERS, TrainConfig
from cyclegan.errors import UsageError, did_you_mean

# Two ways to say one thing: a later layer that uses the one silences what an earlier layer said by the other.
ALTERNATIVES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"steps", "decay_steps"}), frozenset({"epochs", "decay_epochs"})),
    (frozenset({"data"}), frozenset(PICTURE_FOLDERS) - {"data"}),
)


def resolve(layers: Sequence[Mapping[str, Any]], method_options: type | None = None) -> TrainConfig:
    """The config of flat `layers` laid over each other, the last one winning.

    `method_options` is the options dataclass of the chosen method. Unknown keys, values of the wrong type and
    contradictions within one layer raise `UsageError`.
    """
    known = known_keys(method_options)
    merged: dict[str, Any] = {}
    for layer in layers:
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}{did_you_mean(key, known)}")
        for pair in ALTERNATIVES:
            used = [{key for key in side if layer.get(key) is not None} for side in pair]
            if all(used):
                raise UsageError(f"{flags(used[0])} and {flags(used[1])} exclude each other; give one of them")
            for side, other in zip(used, reversed(pair), strict=True):
                if side:
                    merged.update(dict.fromkeys(other))
        if layer.get("steps") is not None:
            merged["decay_steps"] = None  # an earlier layer's belongs to an earlier length; without a word it is half
        merged.update(layer)
    own = {item.name for item in fields(TrainConfig)}
    options = {key: merged.pop(key) for key in list(merged) if key not in own}
    converted = {
        item.name: convert(TrainConfig, item.name, merged[item.name])
        for item in fields(TrainConfig)
        if item.name in merged
    }
    if method_options is not None:
        options = {key: convert(method_options, key, value) for key, value in options.items()}
        check_values(method_options(**options))
    return TrainConfig(**converted, options=options)


def known_keys(method_options: type | None = None) -> set[str]:
    """The flat keys a config may hold."""
    keys = {item.name for item in fields(TrainConfig)} - {"options"}
    return keys | ({item.name for item in fields(method_options)} if method_options else set())


def flatten(config: TrainConfig, method_options: type | None = None) -> dict[str, Any]:
    """The flat dict that `resolve` turns into an equal config; with `method_options`, their defaults written out."""
    values = {item.name: getattr(config, item.name) for item in fields(config) if item.name != "options"}
    for item in fields(config):
        for word, held in words_of(item).items():
            values[item.name] = word if values[item.name] == held else values[item.name]
    defaults = {item.name: item.default for item in fields(method_options)} if method_options else {}
    return values | defaults | dict(config.options)


def in_steps(config: TrainConfig, steps_per_epoch: int) -> TrainConfig:
    """The same config with its length counted in steps, which is the only measure the loop knows."""
    if config.steps is not None:
        decay = config.steps // 2 if config.decay_steps is None else config.decay_steps
        if decay > config.steps:
            raise UsageError(f"--decay-steps {decay} is more than --steps {config.steps}; lower it")
        return replace(config, decay_steps=decay)
    steady, decay = ((count or 0) * steps_per_epoch for count in (config.epochs, config.decay_epochs))
    return replace(config, steps=steady + decay, decay_steps=decay, epochs=None, decay_epochs=None)
