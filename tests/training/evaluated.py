"""What tests read in a run that was evaluated, and how they plan what is found in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyclegan.config import TrainConfig
from cyclegan.evaluation.metrics.metric import Evaluation
from cyclegan.training.evaluation.periodic import PeriodicEvaluation
from tests.support.run_files import read_metrics

Make = Callable[..., TrainConfig]


def looked(run: Path, figure: str = "kid", group: str = "evaluation") -> dict[int, float]:
    """By step what a figure was."""
    name = f"{group}/{figure}"
    return {row["step"]: row[name] for row in read_metrics(run) if name in row}


def best(run: Path) -> dict[str, Any]:
    return json.loads((run / "best.json").read_text())


def planted(monkeypatch: pytest.MonkeyPatch, figures: dict[int, float]) -> None:
    """Let the only figure, `kid_ab` and `kid_ba` alike, be as planned at each step."""
    steps: list[int] = []
    look, measure = PeriodicEvaluation.evaluate, PeriodicEvaluation._measure

    def noted(self: PeriodicEvaluation, step: int, *arguments: Any) -> float:
        steps.append(step)
        return look(self, step, *arguments)

    def made(self: PeriodicEvaluation, *arguments: Any) -> Evaluation:
        value = figures[steps[-1]]
        return measure(self, *arguments) | Evaluation({"kid_ab": value, "kid_ba": value}, {})

    monkeypatch.setattr(PeriodicEvaluation, "evaluate", noted)
    monkeypatch.setattr(PeriodicEvaluation, "_measure", made)
