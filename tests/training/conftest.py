"""The smallest run that passes through every part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan.config import TrainConfig
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.features.classifier_training import ClassifierNetwork
from cyclegan.training.evaluation import periodic
from tests.evaluation.examples import data_set

TINY = {
    "generator": "resnet_6blocks",
    "channels": 2,
    "load_size": 36,
    "crop_size": 32,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "wandb": "disabled",
    "features": "judge",  # quick ones
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


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> DomainClassifier:
    """A judge that is not taught: its features are those of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ClassifierNetwork().eval().requires_grad_(False)
    planted = DomainClassifier(network, 0.9, "planted", {"accuracy": 0.9}, torch.device("cpu"), ("a", "b"))
    monkeypatch.setattr(periodic, "find_classifier", lambda training, **options: planted)
    return planted


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 and 3 pictures of each domain, to learn from and held out."""
    return data_set(tmp_path_factory.mktemp("pictures"), train=10, test=3, side=40)


@pytest.fixture
def small(tiny: Callable[..., TrainConfig], pictures: Path, judge: DomainClassifier) -> Callable[..., TrainConfig]:
    """`small(steps=4, …)` is a config that evaluates every two steps, on 3 held-out pictures of each domain."""

    def make(**changes: object) -> TrainConfig:
        return tiny(**{"a": None, "b": None, "data": str(pictures), "evaluate_every": 2} | changes)  # type: ignore[arg-type]

    return make
