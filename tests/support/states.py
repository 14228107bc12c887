"""Training states of runs, and their comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cyclegan.training.storage.checkpoint import read_state


def newest_state(run: Path) -> dict[str, Any]:
    return read_state(max((run / "checkpoints").glob("state-*.pt")))


def assert_same(one: Any, two: Any, where: str = "") -> None:
    """Two states are of the same types and, to the bit, of the same values."""
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, (x, y) in enumerate(zip(one, two, strict=True)):
            assert_same(x, y, f"{where}/{number}")
    else:
        assert one == two, where
