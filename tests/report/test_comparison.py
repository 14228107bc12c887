"""Runs beside each other: what differs, and what may not be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cyclegan.errors import UsageError
from cyclegan.report import compare, write_comparison
from tests.report.examples import begun, figures, finished, protocol, row
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


def test_shares_of_other_classes_do_not_compare_and_those_of_one_run_are_shown(tmp_path: Path) -> None:
    runs = two(tmp_path)
    for run, names in zip(runs, ("zebra", "zebra, sorrel"), strict=True):
        record = {"metrics": {"class_share_ab": 0.25}, "protocol": protocol(classes={"names": names, "sha256": "x"})}
        (run / "evaluation.json").write_text(json.dumps(record))
    comparison = compare(runs)
    assert comparison.warnings == [
        "The named classes differ from run to run, so the shares of named classes do not compare."
    ]
    assert ("Of the named classes, A to B", ["25.0 %", "25.0 %"]) in comparison.figures


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
    for runs in ([run], [begun(tmp_path / f"run{number}", lambda_cycle=number) for number in range(9)]):
        with pytest.raises(UsageError, match="2 to 8 runs"):
            compare(runs)
    with pytest.raises(UsageError, match="is no run"):
        compare([run, tmp_path])


def of_two_recipes(tmp_path: Path, seeds: int = 3) -> list[Path]:
    """Runs with intervals, whose KID is 0.100, 0.101, … by the first recipe and 0.200, … by the second."""
    runs = []
    for level, name in enumerate("xy", 1):
        for seed in range(seeds):
            runs.append(begun(tmp_path / f"{name}-{seed}", lambda_cycle=level, seed=seed))
            values = figures(kid=0.1 * level + 0.001 * seed)
            intervals = {key: [value - 0.01, value + 0.01] for key, value in values.items() if value is not None}
            record = {"metrics": values, "intervals": intervals, "protocol": protocol()}
            (runs[-1] / "evaluation.json").write_text(json.dumps(record))
    return runs


def test_what_recipes_differ_in_is_said_in_words_on_the_page_too(tmp_path: Path) -> None:
    comparison = compare(of_two_recipes(tmp_path))
    (pair,) = comparison.pairs
    assert pair.heading == "x (3 seeds: x-0, x-1, x-2) against y (3 seeds: y-0, y-1, y-2)"
    ab, ba, equal = pair.sentences()
    # Of the pictures 0.01 / 1.96 and not 0.001 of the seeds, by √3 seeds and Student's t of two degrees of freedom
    assert ab == "KID, A to B: x is better than y (0.1010 ± 0.0127 against 0.2010 ± 0.0127)"
    assert ba.startswith("KID, B to A: x is better than y (")
    assert equal.startswith("no difference beyond the uncertainty in: taken for the target, ")
    assert equal.endswith("cycle L1 (B to A)")
    assert "KID" not in equal
    assert json.loads(json.dumps(comparison.as_json()))["differences"] == [pair.as_json()]
    said = seen(write_comparison(comparison, tmp_path / "page.html").read_text())
    assert f"{pair.heading} {ab} {ba} {equal}" in said


def test_the_intervals_of_evaluations_in_training_count(tmp_path: Path) -> None:
    runs = [finished(tmp_path / name, lambda_cycle=x) for name, x in (("one", 1), ("two", 2))]
    for number, run in enumerate(runs):
        (run / "evaluation.json").unlink()
        values = {"evaluation/kid_ab": 1.0 + number, "interval/kid_ab_low": 0.9, "interval/kid_ab_high": 1.1}
        rows = [row(step, **values) for step in (60, 70, 80)]
        with open(run / "metrics.jsonl", "a") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in (*rows, row(110, **values)))
    (pair,) = compare(runs).pairs
    (kid,) = pair.figures
    assert (kid.key, kid.first.value, kid.second.value) == ("kid_ab", 1, 2)
    assert kid.first.parts[0].value == pytest.approx((0.1 / 1.96) ** 2, rel=1e-3)
    assert kid.first.parts[1].freedom == 3  # of the last five


def test_seeds_of_one_recipe_may_be_many(tmp_path: Path) -> None:
    comparison = compare(of_two_recipes(tmp_path, seeds=5))
    assert [len(recipe.runs) for recipe in comparison.recipes] == [5, 5]
    assert comparison.colours == [0] * 5 + [1] * 5
    assert compare([run.record.path for run in comparison.recipes[0].runs]).colours == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="or of 24 where seeds"):
        compare(of_two_recipes(tmp_path / "more", seeds=13))


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
