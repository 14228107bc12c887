"""Figures in words."""

from __future__ import annotations

from cyclegan.directions import Direction
from cyclegan.evaluation.metrics.metric import Evaluation
from cyclegan.evaluation.printing import classifier_note, direction_lines, judge_sentence, side_by_side, summary_line

AB = Direction("a", "b")
NAMES = {"a": "horses", "b": "zebras"}


def test_the_verdict_is_a_sentence_with_its_two_comparisons() -> None:
    figures = {"judge_ab": 0.83, "judge_real_ab": 0.97, "judge_source_ab": 0.042}
    assert judge_sentence(figures, AB, NAMES) == (
        "83 % of the translated pictures are taken for zebras (real zebras: 97 %, untranslated horses: 4 %)"
    )
    assert judge_sentence({"judge_ab": 1.0, "judge_real_ab": 0.5}, AB, {}) == (
        "100 % of the translated pictures are taken for B (real B: 50 %)"
    )
    assert judge_sentence({"fid_ab": 1.0}, AB, {}) is None
    assert judge_sentence(figures | {"neither_ab": 0.1}, AB, NAMES) == (
        "83 % of the translated pictures are taken for zebras, 7 % for horses, 10 % for neither "
        "(real zebras: 97 %, untranslated horses: 4 %)"
    )


def test_a_judge_that_is_not_sure_speaks_last_and_with_a_warning() -> None:
    evaluation = Evaluation({"judge_ab": 0.83, "neither_ab": 0.1, "kid_ab": 0.1, "cycle_l1_a": 3.0}, {})
    assert next(direction_lines(evaluation, AB, NAMES)).startswith("83 % of the translated")
    *others, last = direction_lines(evaluation, AB, NAMES, sure=False)
    assert last.startswith("by a judge that is not sure: 83 % of the translated")
    assert not any("taken for zebras" in line for line in others)


def test_a_judge_that_is_hardly_better_than_a_coin_is_said_to_be() -> None:
    good = {"judge": {"accuracy": 0.951, "marked_with": [85, 106]}}
    assert classifier_note(good) == "the judge classifies 95.1 % of 85 + 106 other real pictures correctly"
    three = {"judge": good["judge"] | {"marked_with": [85, 106, 300], "neither": 0.9, "calibration_error": 0.034}}
    assert classifier_note(three) == (
        "the judge classifies 95.1 % of 85 + 106 other real pictures correctly, finds 90.0 % of failures to be of "
        "neither domain, and errs by 3.4 % in how sure it is"
    )
    poor = {"judge": {"accuracy": 0.749, "marked_with": [2, 2]}}
    said = classifier_note(poor)
    assert said is not None
    assert said.endswith("; below 75 % it cannot tell the two domains apart, and its verdict means little")
    assert classifier_note({}) is None


def test_a_table_shows_only_what_there_is() -> None:
    figures = {"fid_ab": 12.25, "fid_real_ab": 1.0, "kid_ab": 0.1, "kid_std_ab": float("nan"), "cycle_l1_a": 3.0}
    lines = list(direction_lines(Evaluation(figures | {"cycle_ssim_a": float("nan")}, {}), AB, {}))
    assert lines[0].split() == ["translated", "(95", "%", "interval)", "real", "untranslated"]
    assert [line.split() for line in lines[1:]] == [
        ["KID", "0.1000"],
        ["FID", "12.25", "1.00"],
        ["cycle", "L1", "(levels)", "3.00"],
    ]


def test_figures_have_their_intervals_beside_them_within_a_hundred_columns() -> None:
    evaluation = Evaluation(
        {"judge_ab": 0.83, "kid_ab": 0.0123, "kid_real_ab": 0.002, "kid_source_ab": 0.4, "checkerboard_ab": 0.00123}
        | {"checkerboard_real_ab": 0.001, "cycle_noise_ratio_a": 1.95, "psnr_ab": 20.5},
        {"judge_ab": (0.754, 0.886), "kid_ab": (-0.0010, 0.0145), "checkerboard_ab": (0.00101, 0.00145)}
        | {"cycle_noise_ratio_a": (1.9, 2.104)},
    )
    lines = list(direction_lines(evaluation, AB, NAMES))
    assert lines[1] == "the 95 % interval of that share is 75 to 89 %"
    assert [" ".join(line.split()) for line in lines[3:]] == [
        "KID 0.0123 (-0.0010 to 0.0145) 0.0020 0.4000",
        "checkerboard energy 0.123 % (0.101 to 0.145 %) 0.100 %",
        "cycle L1 with noise 1.95 × (1.90 to 2.10 ×)",
        "PSNR 20.50 dB",
    ]
    assert max(map(len, lines[1:])) <= 98


def test_figures_of_generators_that_take_noise_have_lines() -> None:
    lines = list(direction_lines(Evaluation({"kid_zb": 0.25, "nearest_zb": 2.0}, {}), Direction("z", "b"), NAMES))
    assert [line.split() for line in lines[1:]] == [
        ["KID", "0.2500"],
        ["nearest", "training", "picture", "2.000"],
    ]


def test_a_line_says_what_the_judge_says_of_each_direction() -> None:
    figures = {f"judge{part}_{way}": 0.5 for part in ("", "_real", "_source") for way in ("ab", "ba")}
    figures |= {"judge_ab": 0.834, "judge_real_ab": 0.97, "judge_source_ab": 0.0}
    assert summary_line(figures, NAMES, ("ab", "ba")) == (
        "83 % taken for zebras (real: 97 %, untranslated: 0 %), 50 % for horses (real: 50 %, untranslated: 50 %)"
    )
    assert summary_line(figures, NAMES, ("ba",)).startswith("50 % taken for horses (")
    assert summary_line({"kid_zb": 0.25}, NAMES, ("zb",)) == ""


def test_last_and_best_stand_side_by_side_with_the_better_marked() -> None:
    chosen = {"a": 8, "b": 9, "these": True}
    last = ({"which": "last", "step": 9}, {"kid_ab": 0.2, "judge_ab": 0.9, "cycle_l1_a": 3.0, "fid_ab": 1.0})
    best = ({"which": "best by kid", "step": 6, "chosen_on": chosen}, {"kid_ab": 0.1, "judge_ab": 0.8, "fid_ab": 1.001})
    lines = list(side_by_side([last, best], NAMES, ("ab",)))
    assert lines[0].split() == ["last", "best", "by", "kid"]
    assert lines[1].split() == ["step", "9", "step", "6"]
    assert [line.split() for line in lines[2:5]] == [
        [*["taken", "for", "the", "target,", "horses", "to", "zebras"], "90", "%", "*", "80", "%"],
        [*["KID,", "horses", "to", "zebras"], "0.2000", "0.1000", "*"],
        [*["FID,", "horses", "to", "zebras"], "1.00", "1.00"],  # no difference that could be seen
    ]
    assert lines[5:] == [  # and no cycle, of which the other has none
        "* the better one",
        "best by kid: chosen on 8 + 9 of these same pictures, so its figures are slightly optimistic",
    ]
    training = {"value": 0.095, "recent": [0.2, 0.095, 0.13], "spread": 0.0612}
    said = list(side_by_side([last, (best[0] | {"in_training": training}, best[1])], NAMES, ("ab",)))
    assert said[-2] == (
        "best by kid: 0.095 in training, where the last evaluations gave 0.2, 0.095, 0.13, with a spread of 0.0612"
    )
    counted = training | {"evaluations": 12}
    said = list(side_by_side([last, (best[0] | {"in_training": counted}, best[1])], NAMES, ("ab",)))
    assert said[-2].startswith("best by kid: 0.095 in training, chosen from 12 evaluations, where the last")
    unsure = best[0] | {"chosen_on": chosen | {"these": False}}
    assert "which may be among these" in list(side_by_side([last, (unsure, best[1])], NAMES, ("ab",)))[-1]
