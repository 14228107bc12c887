"""The table of promises names tests that exist, and the figures in it are those that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.soak.ledger import filled

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FIGURES = ROOT / "benchmarks" / "results" / "soak.json"


def test_every_test_that_is_named_exists() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    there = {name for path in files for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)}
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) > 40
    assert not set(named) - there


def test_every_promise_has_a_test() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("|") and line.count("|") == 5]
    promises = [row for row in rows if row[0].strip() not in ("fault", "---")]
    assert len(promises) >= 17
    assert not [fault for fault, _, tests, _ in promises if "`test_" not in tests]


@pytest.mark.skipif(not FIGURES.exists(), reason="no soak is on record yet")
def test_the_figures_of_the_soak_are_those_on_record() -> None:
    summary = json.loads(FIGURES.read_text())
    assert summary["minutes"] >= 60
    assert summary["verdict"] == "equal"
    assert not summary["failures"]
    assert all(entry["equal"] for entry in summary["rounds"])
    command = f"python -m tests.soak --fill docs/reliability.md --output {FIGURES.relative_to(ROOT)}"
    assert filled(PAGE, summary) == PAGE, f"run {command}"
