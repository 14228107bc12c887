"""Presets, and the earlier names of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

# Earlier names of options, in files that are still read.
RENAMED = {"average_in": "gradient_dtype", "reader_timeout": "worker_timeout"}


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat `values` of a file, with earlier names of options replaced."""
    return {RENAMED.get(key, key): value for key, value in values.items()}
