"""The one table of figures, and the names that it gives them."""

from __future__ import annotations

from cyclegan.directions import Direction
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import (
    DIRECTION,
    FIGURES,
    HIGHER,
    LOWER,
    NEEDED,
    SOURCE,
    TARGET,
    few_pictures,
    in_words,
    key_of,
    name_of,
    subject_of,
    wilson,
)

AB, ZB = Direction("a", "b"), Direction("z", "b")
NAMES = {"a": "horses", "b": "zebras"}


def test_every_metric_has_its_figures_in_the_table_and_every_figure_its_metric() -> None:
    given = [name for metric in METRICS.values() for name in metric.gives]
    assert len(given) == len(set(given))
    spreads = {figure.spread for figure in FIGURES.values()} - {""}
    assert set(given) == set(FIGURES) | spreads


def test_every_figure_can_be_written() -> None:
    for name, figure in FIGURES.items():
        assert figure.label, name
        assert figure.written(0.5).strip(), name
        assert figure.better in (LOWER, HIGHER, None), name
        assert figure.of in (DIRECTION, SOURCE, TARGET), name


def test_keys_end_in_the_direction_or_in_the_domain_at_one_of_its_ends() -> None:
    assert [key_of(name, AB) for name in ("kid", "kid_real", "cycle_l1", "identity_l1")] == [
        "kid_ab",
        "kid_real_ab",
        "cycle_l1_a",
        "identity_l1_b",
    ]
    for name in FIGURES:
        assert name_of(key_of(name, AB)) == name_of(name) == name
    assert name_of("sharpness_ab") == "sharpness_ab"


def test_what_a_figure_is_of_is_said_with_the_names_of_the_domains() -> None:
    assert subject_of("kid", AB, NAMES) == "horses to zebras"
    assert subject_of("cycle_l1", AB, NAMES) == "horses"
    assert subject_of("identity_l1", AB, NAMES) == "zebras"
    assert subject_of("kid", AB) == "A to B"
    assert in_words(ZB, NAMES, "→") == "noise → zebras"


def test_percent_signs_have_a_space() -> None:
    assert FIGURES["judge"].written(0.834) == "83 %"
    assert FIGURES["cycle_l1"].label_with_unit == "cycle L1 (levels)"
    assert FIGURES["class_iou"].title == "Class IoU"


def test_figures_of_fewer_pictures_than_they_need_are_named_with_the_reason() -> None:
    keys = ("kid_ab", "kid_real_ab", "fid_ba", "judge_ab", "neither_ab", "cycle_l1_a")
    few, kid, fid = few_pictures(keys, 49)
    assert few.startswith("taken for the target and taken for neither domain: 100, since of fewer its interval")
    assert kid.startswith("KID: 50, since")
    assert [clause.partition(":")[0] for clause in few_pictures(keys, 50)] == [few.partition(":")[0], "FID"]
    assert few_pictures(keys, 499) == [fid]
    assert few_pictures(keys, 500) == []
    assert few_pictures(("kid",), 2) == [kid]  # of two folders, without a direction
    assert set(NEEDED) <= set(FIGURES)


def test_as_many_pictures_as_shares_need_give_an_interval_of_at_most_ten_percent() -> None:
    low, high = wilson(0.5, NEEDED["judge"].pictures)
    assert (high - low) / 2 < 0.1
    low, high = wilson(0.5, NEEDED["judge"].pictures - 10)
    assert (high - low) / 2 > 0.1
