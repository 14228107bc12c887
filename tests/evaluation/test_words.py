"""Figures in words."""

from __future__ import annotations

from cyclegan.evaluation.words import sure, verdict, way


def test_the_verdict_is_a_sentence_with_its_two_comparisons() -> None:
    figures = {"judge_ab": 0.83, "judge_real_ab": 0.97, "judge_source_ab": 0.042}
    assert verdict(figures, ("horses", "zebras"), "_ab") == (
        "83 % of the translated pictures are taken for zebras (real zebras: 97 %, untranslated horses: 4 %)"
    )
    assert verdict({"judge": 1.0, "judge_real": 0.5}, ("A", "B")) == (
        "100 % of the translated pictures are taken for B (real B: 50 %)"
    )
    assert verdict({"fid": 1.0}, ("A", "B")) is None


def test_a_judge_that_is_hardly_better_than_a_coin_is_said_to_be() -> None:
    good = {"judge": {"accuracy": 0.951, "marked_with": [85, 106]}}
    assert sure(good, 0.75) == "the judge tells 95.1 % of 85 + 106 other real pictures rightly"
    poor = {"judge": {"accuracy": 0.749, "marked_with": [2, 2]}}
    said = sure(poor, 0.75)
    assert said is not None
    assert said.endswith("; below 75 % it cannot tell the two domains apart, and its verdict means little")
    assert sure({}, 0.75) is None


def test_a_table_shows_only_what_there_is() -> None:
    figures = {"fid_ab": 12.25, "fid_real_ab": 1.0, "kid_ab": 0.1, "kid_std_ab": float("nan"), "cycle_l1_a": 3.0}
    lines = list(way(figures | {"cycle_ssim_a": float("nan")}, ("A", "B"), "_ab", "_a", "_b"))
    assert lines[0].split() == ["translated", "real", "untranslated"]
    assert lines[1].split() == ["FID", "12.25", "1.00"]
    assert lines[-1].split() == ["cycle", "L1", "(levels)", "3.00"]
    assert not [line for line in lines if "nan" in line]
