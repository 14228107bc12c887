"""Sets of values to start from."""

from __future__ import annotations

from typing import Any

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
