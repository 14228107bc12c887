"""Readers of the files that a run, or a job of translation, has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of one JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_metrics(run: Path) -> list[dict[str, Any]]:
    return read_rows(run / "metrics.jsonl")


def read_status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def curves(run: Path) -> list[dict[str, Any]]:
    """The metrics that are the same in two equal runs: steps, losses, scores, learning rates."""
    kept = ("step", "loss", "scores", "learning_rate")
    return [{name: value for name, value in row.items() if name.split("/")[0] in kept} for row in read_metrics(run)]
