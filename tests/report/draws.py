"""Runs of known recipes with drawn figures, in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.report.recipes import LabelledRun
from cyclegan.report.run_record import RECENT, RunRecord
from tests.report.examples import protocol

KEYS = [f"{name}_{way}" for name in ("judge", "kid", "fid") for way in ("ab", "ba")] + ["cycle_l1_a", "cycle_l1_b"]


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a figure: of seeds, from evaluation to evaluation, and of samples of pictures."""

    seeds: float = 1.7
    evaluations: float = 1.0
    pictures: float = 1.0

    @property
    def whole(self) -> float:
        return float(np.hypot(np.hypot(self.seeds, self.evaluations), self.pictures))


def drawn_run(
    rng: np.random.Generator, recipe: float, seed: int, shift: dict[str, float], noise: Noise, *, evaluated: bool = True
) -> LabelledRun:
    """A run of the recipe with --lambda-cycle `recipe`, whose figures are about 100 and the `shift` of their key."""
    label = f"r{recipe:g}-{seed}"
    config = {"seed": seed, "lambda_cycle": recipe}
    evaluation: dict[str, Any] = {"metrics": {}, "intervals": {}, "protocol": protocol()}
    record = RunRecord(Path(label), config, {}, {}, {}, evaluation, {}, {}, notes=[], last_step=100)
    for key in KEYS:
        level = 100 + shift.get(key, 0) + noise.seeds * rng.normal() + noise.pictures * rng.normal()
        values = level + 0.1 * np.arange(RECENT) + noise.evaluations * rng.normal(size=RECENT)
        if evaluated:
            points = [(20 * number, float(value)) for number, value in enumerate(values)]
            record.recent[f"evaluation/{key}"] = deque(points, maxlen=RECENT)
        last, reach = float(values[-1]), 1.96 * noise.pictures
        evaluation["metrics"][key] = last
        evaluation["intervals"][key] = [last - reach, last + reach]
    return LabelledRun(label, record)
