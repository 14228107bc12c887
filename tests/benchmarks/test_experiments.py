"""The bench on which recipes are compared."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import experiments
from cyclegan.cli import cli
from cyclegan.config import PRESETS


def result(recipe: str, seed: int, **figures: float) -> dict:
    return {"bench": "demo", "recipe": recipe, "seed": seed, "options": [], "figures": figures}


def test_every_recipe_is_one_that_training_takes(tmp_path):
    for bench in experiments.BENCHES.values():
        for options in experiments.RECIPES.values():
            given = shlex.split(f"{bench['options']} {options} {experiments.QUIET}")
            outcome = CliRunner().invoke(cli, ["train", "--data", str(tmp_path), "--dry-run", *given])
            assert outcome.exit_code == 0, outcome.output


def test_the_recipe_best_is_the_preset():
    given = experiments.RECIPES["best"].replace("--", "").split()
    preset = {name.replace("_", "-"): str(value) for name, value in PRESETS["best"].items()}
    assert {name: str(float(value)) if value[0].isdigit() else value for name, value in _pairs(given)} == preset


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def test_a_table_gives_mean_and_deviation_over_the_seeds_in_the_order_of_the_recipes():
    results = [
        result("EMA 0.998", 0, gain_db=1.0),
        result("paper", 0, gain_db=2.0),
        result("paper", 1, gain_db=3.0),
        result("paper", 2, gain_db=4.0),
    ]
    table = experiments.lines("demo", results)
    assert table[0].startswith("| demo | options | seeds | gain, dB |")
    assert table[2] == "| paper |  | 3 | 3.00 ± 1.00 |"
    assert table[3] == "| EMA 0.998 | `--ema-decay 0.998` | 1 | 1.00 |"


def test_a_figure_that_is_no_number_is_left_out():
    assert experiments.cell([None, 1.0], 1, 100) == "100.0"
    assert experiments.cell([float("nan")], 1, 1) == ""


def test_tables_are_put_between_their_marks_and_nothing_else_changes():
    before = "a\n\n<!-- demo: begin -->\nold\n<!-- demo: end -->\n\nb\n"
    marks = "".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n" for name in experiments.BENCHES if name != "demo")
    after = experiments.filled(before + marks, [result("paper", 0, gain_db=2.0)])
    assert after.startswith("a\n\n<!-- demo: begin -->\n| demo |")
    assert "old" not in after
    assert "| paper |  | 1 | 2.00 |\n<!-- demo: end -->\n\nb\n" in after
    assert experiments.filled(after, [result("paper", 0, gain_db=2.0)]) == after


def test_what_is_there_is_read_again_and_not_done_twice(tmp_path, monkeypatch):
    calls = []

    def cyclegan(*arguments: str) -> str:
        calls.append(arguments[0])
        return json.dumps({"metrics": {"kid_ab": 1.0}, "gain_db": 2.0})

    monkeypatch.setattr(experiments, "cyclegan", cyclegan)
    for _ in range(2):
        experiments.settle(tmp_path, "demo", "paper", 0, tmp_path)
    assert calls == ["train", "evaluate", "evaluate", "translate", "data"]  # by lite0 and by the judge
    (only,) = experiments.read(tmp_path)
    assert (only["recipe"], only["seed"], only["figures"]["kid_ab"]) == ("paper", 0, 1.0)
    assert experiments.record([only])["runs"][0]["figures"] == {"gain_db": 2.0, "kid_ab": 1.0, "lite0_kid_ab": 1.0}


def test_a_figure_that_is_the_same_in_all_runs_has_no_column():
    results = [result("paper", seed, gain_db=float(seed), judge_ab=1.0) for seed in (0, 1)]
    assert experiments.lines("demo", results)[0] == "| demo | options | seeds | gain, dB |"


def test_agreement_is_the_correlation_of_ranks() -> None:
    def runs(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
        return [{"figures": {"kid_ab": judge, "lite0_kid_ab": lite}} for judge, lite in pairs]

    assert experiments.agreement(runs((1, 10), (2, 1000), (30, 2000)), "ab") == pytest.approx(1)
    assert experiments.agreement(runs((1, 3), (2, 2), (3, -1)), "ab") == pytest.approx(-1)
