"""The table of the README says what the records say."""

from __future__ import annotations

import json
from pathlib import Path

import make_benchmark_table
import pytest
from make_benchmark_table import BEGIN, END, into, table

RECORD = {
    "benchmark": "train",
    "title": "Training step, 64²",
    "headline": ["default", "not measured"],
    "unit": "step",
    "machine": {"device": "2 cores", "packages": {"torch": "2.15.0"}},
    "results": [
        {"name": "textbook", "median_s": 1.5, "ratio_to_baseline": 1.0, "share_of_floor": 0.25},
        {"name": "default", "median_s": 0.6, "ratio_to_baseline": 2.5, "share_of_floor": 0.625, "memory_ratio": 0.5},
    ],
}


def test_records_become_rows_and_other_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(RECORD))
    (tmp_path / "demo.json").write_text('{"score": {}}')
    scale = RECORD | {"benchmark": "scale", "title": "Several processes"}
    (tmp_path / "scale.json").write_text(json.dumps(scale))
    made = table(tmp_path)
    assert made.splitlines()[0] == "On 2 cores, torch 2.15.0:"
    assert made.splitlines()[-1] == "| Training step, 64² | 1.5 s | 600 ms a step | **2.50** | 62% | 0.50 × |"
    assert "Several" not in made


def test_the_table_replaces_the_old_one_and_nothing_else() -> None:
    readme = f"Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n"
    assert into(readme, "new") == f"Before\n\n{BEGIN}\nnew\n{END}\n\nAfter\n"
    assert into(into(readme, "new"), "new") == into(readme, "new")


@pytest.mark.parametrize("readme", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_readme_without_a_place_for_it_is_refused(readme: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        into(readme, "new")


def test_writing_and_checking_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.json").write_text(json.dumps(RECORD))
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(make_benchmark_table, "README", readme)
    monkeypatch.setattr(make_benchmark_table, "RECORDS", tmp_path)
    assert make_benchmark_table.main(["--check"]) == 1
    assert make_benchmark_table.main(["--write"]) == 0
    assert make_benchmark_table.main(["--check"]) == 0
    assert "**2.50**" in readme.read_text()
