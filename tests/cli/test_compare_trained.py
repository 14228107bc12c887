"""`cyclegan compare` of runs that were trained: two of one recipe, and one that learns next to nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import TINY, Ended

Program = Callable[..., Ended]
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("short_classifier")]

STEPS = ("--steps", "180", "--evaluate-every", "18", "--state-every", "180")


@pytest.fixture
def trained(program: Program, tmp_path: Path) -> list[Path]:
    """Seeds 0 and 1 of a recipe, and seed 2 at a hundredth of the rate of learning."""
    data, runs = tmp_path / "animals", []
    assert program("data", "demo", data, "--count", 16, "--test-count", 16, "--size", 32).code == 0
    slowly = ("--lr-generator", "4e-6")
    for seed, more in enumerate(((), (), slowly)):
        runs.append(tmp_path / f"run-{seed}")
        ended = program("train", *TINY, *STEPS, "--data", data, "--seed", seed, *more, "--output", runs[-1])
        assert ended.code == 0, ended.err
    return runs


def test_two_seeds_are_called_equal_and_a_planted_difference_is_found(program: Program, trained: list[Path]) -> None:
    def differing(*runs: Path) -> dict[str, str]:
        (pair,) = json.loads(program("compare", *runs, "--json").out)["differences"]
        figures: list[dict[str, Any]] = pair["figures"]
        assert {"judge_ab", "kid_ab", "fid_ba", "cycle_l1_a"} < {it["figure"] for it in figures}
        return {it["figure"]: it["better"] for it in figures if it["differs"]}

    first, second, slow = trained
    assert differing(first, second) == {}
    for one in (first, second):
        assert differing(one, slow)["cycle_l1_a"] == one.name
    out = " ".join(program("compare", first, slow).out.split())
    assert "cycle L1, A to B: run-0 is better than run-2 (" in out
