"""Presets, and the merging of layers of values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cyclegan.config.options import flags
from cyclegan.errors import UsageError, did_you_mean

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # The paper's networks and length, with the changes that proved better in docs/experiments.md.
    "best": {
        "upsampling": "resize",
        "ema_decay": 0.998,
        "lr_generator": 4e-4,
        "lr_discriminator": 4e-4,
    },
    # A quick trial: 103 instead of 1879 GFLOP per step, and a fifth of the steps.
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
    # The drawn animals of `cyclegan data demo` on two CPU cores in minutes: narrow networks, twice the learning rate.
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

# Options by the names that they had: files written with those are still read.
RENAMED = {"average_in": "gradient_dtype", "reader_timeout": "worker_timeout"}


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flat `values` of a file of any time, by the names that options have today."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


def overlay(layers: Sequence[Mapping[str, Any]], known: set[str], folders: Collection[str]) -> dict[str, Any]:
    """Merge flat `layers`; later ones override earlier ones.

    Keys that are not `known`, and contradictions within one layer, raise `UsageError`.
    """
    # Alternative options for one setting: a layer that uses one of them resets the other of earlier layers.
    alternatives = (
        (frozenset({"steps", "decay_steps"}), frozenset({"epochs", "decay_epochs"})),
        (frozenset({"data"}), frozenset(folders) - {"data"}),
    )
    merged: dict[str, Any] = {}
    for layer in map(with_present_names, layers):
        for key in layer:
            if key not in known:
                raise UsageError(f"unknown option {key!r}{did_you_mean(key, known)}")
        for pair in alternatives:
            used = [{key for key in side if layer.get(key) is not None} for side in pair]
            if all(used):
                raise UsageError(f"{flags(used[0])} and {flags(used[1])} exclude each other; give one of them")
            for side, other in zip(used, reversed(pair), strict=True):
                if side:
                    merged.update(dict.fromkeys(other))
        if layer.get("steps") is not None:
            merged["decay_steps"] = None  # an earlier layer's value belonged to another length; the default is half
        merged.update(layer)
    return merged
