"""The verdict of `cyclegan evaluate --verdict` follows from the figures, whatever they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.report.verdict import LONGER, read_scores, verdict_lines
from cyclegan.tracking.journal import ALARM, Journal

NAMES = {"a": "horses", "b": "zebras"}
GOOD = {"judge_ab": 0.83, "judge_real_ab": 0.97, "judge_source_ab": 0.04, "kid_ab": 0.0123, "cycle_l1_a": 7.5}
GOOD |= {"fid_ab": 30.0, "fid_real_ab": 20.0, "fid_source_ab": 120.0}
BAD = GOOD | {"judge_ab": 0.1}
BACK = {name.replace("_ab", "_ba"): value for name, value in GOOD.items() if name.endswith("_ab")}


def evaluated(metrics: dict[str, Any], *, accuracy: float = 0.9, step: int | None = 400) -> dict[str, Any]:
    protocol = {
        "directions": sorted({name[-2:] for name in metrics if name.endswith(("_ab", "_ba"))}),
        "checkpoint": {"step": step},
        "pictures": {"held out A": {"count": 120}, "held out B": {"count": 140}},
        "judge": {"accuracy": accuracy},
    }
    return {"metrics": metrics, "protocol": protocol}


def score(texture: float, nothing: float = 0.0) -> dict[str, Any]:
    return {"texture": texture, "texture_nothing": nothing, "background": 0.564}


def said(run: Path, evaluation: dict[str, Any], longer: str = LONGER, **marks: dict[str, Any]) -> list[str]:
    scores = {Direction.parse(key): score for key, score in marks.items()}
    return list(verdict_lines(evaluation, run, NAMES, scores, longer))


def test_the_verdict_is_said_in_words_with_the_figures_it_stands_on(tmp_path: Path) -> None:
    lines = said(tmp_path, evaluated(GOOD), ab=score(0.929))
    right = "93 % of the animals' pixels have the right texture (doing nothing: 0 %); 56 % of the background is kept"
    assert lines[:3] == [
        "Verdict: it works.",
        f"  horses to zebras: {right}.",
        "  83 % of 120 translated horses are taken for zebras (real zebras: 97 %, untranslated horses: 4 %).",
    ]
    assert not any("cyclegan train" in line for line in lines)


@pytest.mark.parametrize(
    ("there", "back", "first"),
    [
        (0.9, 0.8, "Verdict: it works."),
        (0.9, 0.1, "Verdict: it works one way, and not the other yet."),
        (0.1, 0.1, "Verdict: it has not learned it yet."),
    ],
)
@pytest.mark.parametrize("metrics", [GOOD, BAD])
def test_the_right_answer_decides_alone_where_it_is_known(
    tmp_path: Path, metrics: dict[str, Any], there: float, back: float, first: str
) -> None:
    lines = said(tmp_path, evaluated(metrics), ab=score(there), ba=score(back))
    assert lines[0] == first
    longer = [line for line in lines if "--resume" in line]
    assert (longer == []) == (first == "Verdict: it works.")


@pytest.mark.parametrize(
    ("metrics", "first"),
    [
        (GOOD | BACK, "Verdict: the change is there, both ways; "),
        (BAD | BACK, "Verdict: the change is there one way, and not the other yet."),
        (BAD | BACK | {"judge_ba": 0.2}, "Verdict: it has not learned it yet."),
    ],
)
def test_a_judge_says_whether_the_change_is_there(tmp_path: Path, metrics: dict[str, Any], first: str) -> None:
    assert said(tmp_path, evaluated(metrics))[0].startswith(first)


def test_what_looks_like_neither_is_no_zebra_though_the_judge_takes_it_for_one(tmp_path: Path) -> None:
    noise = GOOD | {"judge_ab": 0.99, "fid_ab": 60.0}
    lines = said(tmp_path, evaluated(noise))
    assert lines[0] == "Verdict: it has not learned it yet."
    beside = "(real zebras: 20, untranslated horses: 120)"
    assert lines[1].endswith(f", but they do not look like them: their FID is 60 {beside}.")


def test_a_judge_of_three_classes_needs_no_more_than_pictures_that_are_not_farther_off(tmp_path: Path) -> None:
    three = GOOD | {"judge_ab": 0.8, "neither_ab": 0.15}
    lines = said(tmp_path, evaluated(three | {"fid_ab": 60.0}))
    assert lines[0].startswith("Verdict: the change is there")
    assert lines[1].startswith("  80 % of 120 translated horses are taken for zebras, and 15 % for neither (real")
    assert said(tmp_path, evaluated(three | {"fid_ab": 121.0}))[0] == "Verdict: it has not learned it yet."


def test_a_generator_that_does_nothing_has_learned_nothing_however_easily_the_judge_is_pleased(tmp_path: Path) -> None:
    idle = GOOD | {"judge_ab": 0.6, "judge_source_ab": 0.6}
    assert said(tmp_path, evaluated(idle))[0] == "Verdict: it has not learned it yet."
    half = 0.4  # what a picture that was not touched has right already is no merit
    assert said(tmp_path, evaluated({}), ab=score(half, half))[0] == "Verdict: it has not learned it yet."


@pytest.mark.parametrize("evaluation", [evaluated(GOOD, accuracy=0.6), evaluated(GOOD | {"judge_source_ab": 0.9})])
def test_a_judge_that_cannot_tell_the_two_apart_decides_nothing(tmp_path: Path, evaluation: dict[str, Any]) -> None:
    lines = said(tmp_path, evaluation)
    assert lines[0].startswith("Verdict: none")
    assert lines[1].endswith("so this is not evidence.")


def test_without_a_judge_only_what_is_known_is_said(tmp_path: Path) -> None:
    evaluation = evaluated({"kid_ab": 0.2, "cycle_l1_a": None})
    del evaluation["protocol"]["judge"]
    lines = said(tmp_path, evaluation, "scripts/quickstart --steps {steps}", ab=score(0.1))
    assert lines[0] == "Verdict: it has not learned it yet."
    assert "No judge" in lines[2]
    assert lines[3].endswith("It was trained for 400 steps. To train longer: scripts/quickstart --steps 1200")
    assert not any("cycle" in line for line in lines)


def test_the_last_generators_stand_beside_the_best(tmp_path: Path) -> None:
    best = evaluated(GOOD | {"kid_ab": 0.01, "judge_ab": None}, step=300)
    lines = said(tmp_path, evaluated(GOOD) | {"best": {"kid": best}})
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert table == [
        ["last", "best", "kid"],
        ["step", "400", "300"],
        ["taken", "for", "the", "target,", "A", "to", "B", "83", "%", "–"],
        ["KID,", "A", "to", "B", "0.0123", "0.0100"],
        ["FID,", "A", "to", "B", "30.00", "30.00"],
        ["cycle", "L1", "(levels),", "A", "7.50", "7.50"],
    ]


def test_alarms_are_named_once_each(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (10, 20):
        journal.append(step, {f"{ALARM}outputs-alike": "All outputs look alike.", "alarm_figure/outputs-alike": 0.1})
    journal.append(30, {f"{ALARM}checkerboard": "A pattern.", "alarm_figure/checkerboard": 3.0})
    journal.close()
    (line,) = (line for line in said(tmp_path, evaluated(GOOD)) if "Alarms" in line)
    assert "outputs-alike, checkerboard (" in line


def test_a_model_without_a_run_has_a_verdict_and_no_advice() -> None:
    lines = list(verdict_lines(evaluated(BAD), None, {}, {}))
    assert lines[:2] == [
        "Verdict: it has not learned it yet.",
        "  10 % of 120 translated A are taken for B (real B: 97 %, untranslated A: 4 %).",
    ]
    assert not any("For longer" in line for line in lines)


def test_a_model_of_unknown_step_has_a_verdict(tmp_path: Path) -> None:
    lines = said(tmp_path, evaluated(BAD, step=None))
    assert not any("For longer" in line for line in lines)
    assert lines[lines.index("") + 2].split() == ["step", "–"]


def test_scores_are_those_that_data_score_has_written(tmp_path: Path) -> None:
    file = tmp_path / "score.json"
    file.write_text(json.dumps(score(0.5)))
    assert read_scores([("ab", file)]) == {Direction("a", "b"): score(0.5)}
    for content in (b"", b"[1]", b"{}", b'{"texture": 1, "texture_nothing": "x", "background": 1}', b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=r"--score: .* holds no score; write it with `cyclegan data demo-score"):
            read_scores([("ab", file)])
    with pytest.raises(UsageError, match=r"--score: .* holds no score"):
        read_scores([("ab", tmp_path / "none.json")])
    with pytest.raises(UsageError, match="'b' is no direction"):
        read_scores([("b", file)])
