"""The smallest run that passes through every part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.config import TrainConfig

TINY = {
    "generator": "resnet_6blocks",
    "channels": 2,
    "load_size": 36,
    "crop_size": 32,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "wandb": "disabled",
    "log_every": 1,
    "sample_every": 0,
    "state_every": 100,
    "samples": 2,
    "holdout": 0.0,
    "ema_decay": 0.9,
    "options": {"pool_size": 2},
}


@pytest.fixture
def tiny(folder: Callable[..., Path]) -> Callable[..., TrainConfig]:
    """`tiny(steps=4, …)` is a config on 5 pictures of A and 4 of B."""
    a, b = folder("a", 5, 40), folder("b", 4, 40)

    def make(**changes: object) -> TrainConfig:
        options = TINY["options"] | changes.pop("options", {})  # type: ignore[operator]
        values = TINY | {"a": str(a), "b": str(b)} | changes
        return TrainConfig(**(values | {"options": options}))  # type: ignore[arg-type]

    return make
