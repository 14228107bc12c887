"""Runs without a trainer: alarms over real pictures, networks that have a fault, and a recorder that keeps all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cyclegan.config import TrainConfig, flatten, resolve
from cyclegan.data.kinds import find_kinds
from cyclegan.data.sets import find_sets
from cyclegan.methods import build_method, options_for
from cyclegan.training.alarms import AlarmMonitor
from cyclegan.training.update.precision import Precision
from tests.training.conftest import TINY


class Recorder:
    """In the place of a tracker."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.alarms: list[tuple[int, str, str, float]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.append((step, dict(values)))

    def alarm(self, step: int, name: str, text: str, figure: float) -> None:
        self.alarms.append((step, name, text, figure))

    @property
    def names(self) -> list[str]:
        return [name for _, name, _, _ in self.alarms]


class Watched:
    """Alarms over a run that nobody trains: `row` and `look` show them what a loop would."""

    def __init__(self, config: TrainConfig, run: Path) -> None:
        self.config = resolve([flatten(config)], options_for(config))
        self.domains = find_sets(self.config, ("a", "b"), "unpaired")
        self.views = find_kinds(self.config, self.domains)
        torch.manual_seed(0)
        self.method = build_method(self.config, {domain: view.channels for domain, view in self.views.items()})
        self.run = run
        self.recorder = Recorder()
        self.alarms = AlarmMonitor(self.config, self.domains, self.views, self.method, run)
        self.precision = Precision(torch.device("cpu"), torch.float32)

    def begin(self, step: int = 0) -> list[str]:
        self.alarms.begin(step, self.recorder)
        return self.recorder.names

    def rows(self, rows: list[Mapping[str, float]], every: int = 20, since: int = 0) -> list[str]:
        quiet = {"health/skipped_steps": 0, "speed/images_per_second": 5.0, "speed/data_wait": 0.01}
        for number, row in enumerate(rows, 1):
            self.alarms.look(since + number * every, quiet | dict(row))
        return self.recorder.names

    def look(self, *generators: nn.Module, times: int = 3) -> list[str]:
        """Probe these generators, ab and ba, so many times; the names of all alarms so far."""
        players = nn.ModuleDict(dict(zip(("ab", "ba"), generators, strict=False)))
        for time in range(1, times + 1):
            self.alarms.probe(300 * time, players, self.precision)
        return self.recorder.names


@pytest.fixture
def scenes(tmp_path: Path) -> Callable[..., Path]:
    """`scenes(name, count)`: smooth pictures of ever other blobs, the same for the same name."""

    def make(
        name: str, count: int, size: int = 40, bright: float = 0.0, contrast: float = 0.3, channels: int = 3
    ) -> Path:
        path = tmp_path / name
        path.mkdir()
        rng = np.random.default_rng([ord(letter) for letter in name])
        y, x = np.mgrid[:size, :size] / size
        for number in range(count):
            planes = []
            for _ in range(channels):
                fy, fx, phase = rng.uniform((0.5, 0.5, 0), (2, 2, 6))
                planes.append(0.5 + bright + contrast * np.sin(6 * (fy * y + fx * x) + phase))
            pixels = (np.stack(planes, axis=2).clip(0, 1) * 255).astype(np.uint8)
            Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(path / f"{number:03d}.png")
        return path

    return make


@pytest.fixture
def watched(tmp_path: Path, scenes: Callable[..., Path]) -> Callable[..., Watched]:
    """`watched(options…)`: alarms over two folders of 24 smooth pictures."""

    def make(**changes: object) -> Watched:
        options = TINY["options"] | changes.pop("options", {})  # type: ignore[operator]
        if "a" not in changes:
            changes |= {"a": str(scenes("a", 24)), "b": str(scenes("b", 24, bright=0.1))}
        values = TINY | {"holdout": 0.34, "steps": 3000} | changes
        return Watched(replace(TrainConfig(**values), options=options), tmp_path / "run")

    return make
