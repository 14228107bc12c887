"""Runs beside each other: what differs, and what may not be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cyclegan.errors import UsageError
from cyclegan.report import compare, write_comparison
from tests.report.examples import begun, figures, finished, protocol
from tests.report.test_page import seen


def two(tmp_path: Path) -> list[Path]:
    return [finished(tmp_path / "one"), finished(tmp_path / "two", shade=5, lambda_cycle=5.0, seed=1, workers=7)]


def measured(run: Path, **changes: Any) -> None:
    (run / "evaluation.json").write_text(json.dumps({"metrics": figures(), "protocol": protocol(**changes)}))


def test_what_differs_is_listed_and_what_does_not_matter_is_not(tmp_path: Path) -> None:
    comparison = compare(two(tmp_path))
    assert comparison.labels == ["one", "two"]
    assert comparison.differences == [("seed", ["0", "1"]), ("lambda-cycle", ["10.0", "5.0"])]
    assert ("Steps", ["100", "100"]) in comparison.standing
    assert ("Alarms", ["nothing-changes", "nothing-changes"]) in comparison.standing
    assert ("KID, A to B", ["0.0500", "0.0500"]) in comparison.figures
    assert ("Best kid_ab", ["0.0200 at step 50", "0.0200 at step 50"]) in comparison.figures
    assert comparison.warnings == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": {"sha256": "other"}}, "The judges differ from run to run, so the shares taken"),
        ({"features": {"sha256": "other"}}, "The features differ from run to run, so FID, KID"),
        ({"size": 99}, "none of the figures compare"),
        ({"pictures": {"held out B": {"names_sha256": "other"}}}, "The held-out pictures of B differ"),
        ({"seed": 3}, "KID and cycles with noise only roughly"),
    ],
)
def test_what_was_not_measured_alike_is_said(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    runs = two(tmp_path)
    measured(runs[1], **changes)
    (warning,) = compare(runs).warnings
    assert words in warning


def test_the_judges_of_evaluations_in_training_are_compared_too(tmp_path: Path) -> None:
    runs = two(tmp_path)
    for run in runs:
        (run / "evaluation.json").unlink()
    assert compare(runs).warnings == []
    best = json.loads((runs[1] / "best.json").read_text())
    judge = best["kid_ab"]["judge"]
    best["kid_ab"] |= {"judge": "other", "features": judge}
    (runs[1] / "best.json").write_text(json.dumps(best))
    (warning,) = compare(runs).warnings
    assert "The judges differ" in warning
    del best["kid_ab"]["features"]  # as in older runs, where they are the judge's
    (runs[1] / "best.json").write_text(json.dumps(best))
    assert [text.split(" differ")[0] for text in compare(runs).warnings] == ["The judges", "The features"]


def test_other_pictures_other_lengths_and_other_ways_of_measuring_are_said(tmp_path: Path) -> None:
    runs = two(tmp_path)
    (runs[1] / "evaluation.json").unlink()
    meta = json.loads((runs[1] / "meta.json").read_text()) | {"data_fingerprint": "other"}
    (runs[1] / "meta.json").write_text(json.dumps(meta))
    said = " ".join(compare([*runs, begun(tmp_path / "three")]).warnings)
    for words in ("some from evaluations in training", "from 0 to 100 steps", "trained on different pictures"):
        assert words in said


def test_an_option_that_a_run_does_not_know_yet_is_as_by_default(tmp_path: Path) -> None:
    runs = [begun(tmp_path / "old"), begun(tmp_path / "new", ema_decay=0.9)]
    config = (runs[0] / "config.yaml").read_text()
    (runs[0] / "config.yaml").write_text(re.sub("(?m)^(ema_decay|dropout):.*\n", "", config))
    assert compare(runs).differences == [("ema-decay", ["0.0", "0.9"])]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [begun(tmp_path / name / "run") for name in ("x", "y")]
    assert compare(runs).labels == ["x/run", "y/run"]
    with pytest.raises(UsageError, match="more than once"):
        compare([runs[0], runs[0]])


def test_too_few_too_many_and_no_runs_are_sentences(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for runs in ([run], [run] * 9):
        with pytest.raises(UsageError, match="2 to 8 runs"):
            compare(runs)
    with pytest.raises(UsageError, match="is no run"):
        compare([run, tmp_path])


@pytest.mark.slow
def test_the_page_has_the_curves_of_all_on_common_axes_and_the_same_pictures_beside_each_other(tmp_path: Path) -> None:
    text = write_comparison(compare(two(tmp_path)), tmp_path / "page.html").read_text()
    chart = text.partition("KID, A to B")[2].partition("</figure>")[0]
    assert "var(--series-0)" in chart
    assert "var(--series-1)" in chart
    said = seen(text)
    assert "KID, A to B 0.0500 0.0500" in said
    assert said.count("2.jpg") == 2  # once for each direction
    assert len(re.findall(r'alt="2.jpg by (?:one|two)"', text)) == 4
    # The least believed come first
    assert said.index("2.jpg") < said.index("0.jpg")


def test_runs_that_share_nothing_have_a_page(tmp_path: Path) -> None:
    runs = [begun(tmp_path / "one"), finished(tmp_path / "two", a="<script>")]
    text = write_comparison(compare(runs), tmp_path / "new" / "page.html").read_text()
    assert text.count("<script") == 1
    assert "The same pictures by each run" not in text


def test_it_can_be_read_by_programs(tmp_path: Path) -> None:
    found = json.loads(json.dumps(compare(two(tmp_path)).as_json()))
    assert [run["label"] for run in found["runs"]] == ["one", "two"]
    assert found["runs"][1]["differs"] == {"seed": 1, "lambda_cycle": 5.0}
    assert found["runs"][0]["figures"][0]["metrics"]["kid_ab"] == 0.05
    assert found["runs"][0]["figures"][1]["which"] == "Best by kid_ab"
