"""`cyclegan compare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import Ended, is_refusal
from tests.report.examples import begun, finished, protocol

Program = Callable[..., Ended]


def test_a_table_of_what_differs_and_what_came_of_it(program: Program, tmp_path: Path) -> None:
    runs = [finished(tmp_path / "one"), finished(tmp_path / "two", seed=1)]
    ended = program("compare", *runs)
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "seed │ 0 │ 1" in lines
    assert "KID, A to B │ 0.0500 │ 0.0500" in lines
    assert not list(Path.cwd().iterdir())  # a page only where it is asked for


def test_what_does_not_compare_is_said_first(program: Program, tmp_path: Path) -> None:
    runs = [finished(tmp_path / "one"), finished(tmp_path / "two")]
    other = {"metrics": {"kid_ab": 0.1}, "protocol": protocol(judge={"sha256": "other"})}
    (runs[1] / "evaluation.json").write_text(json.dumps(other))
    assert program("compare", *runs).out.startswith("! The judges differ from run to run")


def test_what_differs_by_more_than_its_uncertainty_is_said_last(program: Program, tmp_path: Path) -> None:
    runs = [begun(tmp_path / name, lambda_cycle=x) for name, x in (("[one]", 1), ("two", 2))]
    for number, run in enumerate(runs):
        figures = {"metrics": {"kid_ab": 0.1 + number, "judge_ab": 0.5}, "protocol": protocol()}
        intervals = {"kid_ab": [0.05 + number, 0.15 + number], "judge_ab": [0.4, 0.6]}
        (run / "evaluation.json").write_text(json.dumps(figures | {"intervals": intervals}))
    out = program("compare", *runs).out
    said = " ".join(out.partition("[one] against two:")[2].split())
    assert said.startswith("- KID, A to B: [one] is better than two (0.1000 ± 0.0500 against 1.1000 ± 0.0500) - no")
    assert "taken for the target (A to B) - what other seeds would give is not known" in said
    (found,) = json.loads(program("compare", *runs, "--json").out)["differences"]
    assert [(it["figure"], it["differs"]) for it in found["figures"]] == [("judge_ab", False), ("kid_ab", True)]


def test_names_of_runs_are_no_markup(program: Program, tmp_path: Path) -> None:
    runs = [begun(tmp_path / "[red]one[" / "x"), begun(tmp_path / "[bold]" / "x")]
    out = program("compare", *runs).out
    assert "[red]one[/x" in out
    assert "[bold]/x" in out


def test_many_runs_are_shown_in_blocks(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = [begun(tmp_path / f"run{number}") for number in range(5)]
    out = program("compare", *runs).out
    assert out.count("Status") == 3
    assert all(f"run{number}" in out for number in range(5))
    assert max(map(len, out.splitlines())) <= 80


def test_json_and_a_page(program: Program, tmp_path: Path) -> None:
    runs = [begun(tmp_path / "one"), begun(tmp_path / "two", seed=1)]
    found = json.loads(program("compare", *runs, "--json", "--output", tmp_path / "page.html").out)
    assert [run["differs"] for run in found["runs"]] == [{"seed": 0}, {"seed": 1}]
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!doctype html>")


def test_one_run_compares_with_nothing(program: Program, tmp_path: Path) -> None:
    is_refusal(program("compare", begun(tmp_path / "one")), "2 to 8 runs")
    is_refusal(program("compare", begun(tmp_path / "two"), tmp_path), "no run")
