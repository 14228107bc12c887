"""Sets of values to start from, and how values are laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyclegan.config.options import flags
from cyclegan.errors import UsageError, did_you_mean

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # The paper's networks and length with what held up in docs/experiments.md.
    "best": {
        "upsampling": "resize",
        "ema_decay": 0.998,
        "lr_generator": 4e-4,
        "lr_discriminator": 4e-4,
    },
    # To see whether it works at all: 103 instead of 1879 GFLOP a step, and a fifth of the steps.
    "fast": {
        "generator": "resnet_6blocks",
        "channels": 32,
        "load_size": 143,
        "crop_size": 128,
        "upsampling": "resize",
        "ema_decay": 0.999,
        "epochs": 20,
        "decay_epochs": 20,
        "evaluate_every": 2500,
    },
    # The drawn animals of `cyclegan data demo` on two processor cores in minutes: narrow networks, twice the rate.
    "demo": {
        "generator": "resnet_6blocks",
        "channels": 16,
        "load_size": 64,
        "crop_size": 64,
        "upsampling": "resize",
        "ema_decay": 0.998,
        "lr_generator": 4e-4,
        "lr_discriminator": 4e-4,
        "steps": 3000,
        "sample_every": 250,
        "state_every": 250,
        "evaluate_every": 500,
    },
}

# Two ways to say one thing: a later layer that uses the one silences what an earlier layer said by the other.
ALTERNATIVES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"steps", "decay_steps"}), frozenset({"epochs", "decay_epochs"})),
    (frozenset({"data"}), frozenset({"a", "b", "test_a", "test_b"})),
)


# Options by the names that they had: files written with those are still read.
RENAMED = {"average_in": "gradient_dtype", "reader_timeout": "worker_timeout"}


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flat `values` of a file of any time, by the names that options have today."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


def overlay(layers: Sequence[Mapping[str, Any]], known: set[str]) -> dict[str, Any]:
    """Flat `layers` laid over each other, the last one winning.

    Keys that are not `known`, and contradictions within one layer, raise `UsageError`.
    """
    merged: dict[str, Any] = {}
    for layer in map(with_present_names, layers):
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
    return merged
