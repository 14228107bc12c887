"""By what the best generators are chosen, and the record of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.evaluator import Evaluator
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.selection import FILE, parse_criteria, read_best, selectable, write_best
from cyclegan.images import list_images
from tests.evaluation.examples import Engine, colours, data_set
from tests.evaluation.metrics.test_class_share import by_colour

BOTH = ("ab", "ba")


def test_a_name_without_its_ending_is_the_mean_of_both_directions_or_domains() -> None:
    kid, cycle, one = parse_criteria("kid, cycle_l1,judge_ba", BOTH)
    assert kid.value({"kid_ab": 1.0, "kid_ba": 4.0}) == 2.5
    assert cycle.value({"cycle_l1_a": 2.0, "cycle_l1_b": 3.0}) == 2.5
    assert one.value({"judge_ab": 0.1, "judge_ba": 0.7}) == 0.7


def test_of_generators_in_one_direction_it_is_that_one() -> None:
    (kid,) = parse_criteria("kid", ("ab",))
    assert kid.value({"kid_ab": 1.0}) == 1.0
    (identity,) = parse_criteria("identity_l1", ("ab",))
    assert identity.figures == ("identity_l1_b",)
    for name in ("kid_ba", "cycle_l1"):
        with pytest.raises(UsageError, match=f"cannot be chosen by '{name}'; use one or more of fid, fid_ab"):
            parse_criteria(name, ("ab",))


@pytest.mark.parametrize("stem", selectable(BOTH))
def test_better_is_lower_for_distances_and_errors_and_higher_for_shares_and_likeness(stem: str) -> None:
    (criterion,) = parse_criteria(stem, BOTH)
    high = stem in ("judge", "cycle_ssim")
    assert criterion.improves(0.9, best=0.5) is high
    assert criterion.improves(0.1, best=0.5) is not high
    assert not criterion.improves(0.5, best=0.5)  # the earlier one stays


def test_what_is_no_number_is_never_better() -> None:
    (criterion,) = parse_criteria("kid", BOTH)
    value = criterion.value({"kid_ab": 1.0, "kid_ba": math.nan})
    assert math.isnan(value)
    assert math.isnan(criterion.value({"kid_ab": 1.0}))
    assert not criterion.improves(value, best=None)
    assert not criterion.improves(math.inf, best=None)
    assert criterion.improves(3.0, best=None)
    assert criterion.improves(3.0, best=4.0, spread=0.9)
    assert not criterion.improves(3.0, best=4.0, spread=1.0)
    assert not criterion.improves(math.nan, best=4.0, spread=0.1)


def test_every_criterion_is_a_figure_of_the_evaluator(tmp_path: Path) -> None:
    root = data_set(tmp_path, train=2, test=3, side=32)
    sets = {
        name: ImageSet(root / name, list_images(root / name), 32) for name in ("trainA", "trainB", "testA", "testB")
    }
    held_out, training = {"a": sets["testA"], "b": sets["testB"]}, {"a": sets["trainA"], "b": sets["trainB"]}
    tools = Tools(colours(), classes=by_colour(0), perceptual=lambda x, y: (x - y).abs().mean(dim=(1, 2, 3)))
    evaluator = Evaluator(tools, BOTH, held_out, training)
    same = Engine(lambda x: x)
    for engines in ({"ab": same, "ba": same}, {"ab": same}, {"ba": same}):
        found = evaluator.measure(engines).figures
        found |= {f"{share}_{way}": 0.5 for share in ("judge", "neither") for way in engines}
        for figure, keys in selectable(tuple(engines), absent=frozenset()).items():
            assert {name for name in found if name.rpartition("_")[0] == figure} == set(keys)


def test_generators_that_take_noise_are_chosen_by_what_needs_no_input() -> None:
    assert selectable(("zb",)) == {name: (f"{name}_zb",) for name in ("kid", "fid", "judge")}


def test_named_classes_choose_in_a_named_direction_where_they_are_named() -> None:
    (share,) = parse_criteria("class_share_ab", BOTH, absent=frozenset())
    assert (share.figures, share.better) == (("class_share_ab",), "higher")
    assert share.improves(0.9, best=0.5)
    assert share.needs >= {"classes"}
    with pytest.raises(UsageError, match=r"class_share: .* on the direction.* such as class_share_ab$"):
        parse_criteria("kid,class_share", BOTH, absent=frozenset())
    (alone,) = parse_criteria("class_share", ("ab",), absent=frozenset())
    assert alone.figures == ("class_share_ab",)
    with pytest.raises(UsageError, match=r"--metric class_share_ab: .*; give --classes NAMES, such"):
        parse_criteria("class_share_ab", BOTH)


def test_a_perceptual_distance_chooses_only_with_features_that_have_one() -> None:
    (change,) = parse_criteria("identity_perceptual", BOTH)
    assert (set(change.figures), change.better) == ({"identity_perceptual_a", "identity_perceptual_b"}, "lower")
    with pytest.raises(UsageError, match=r"--metric identity_perceptual: .*; give --features lite0$"):
        parse_criteria("identity_perceptual", BOTH, absent={"classes", "perceptual"})
    with pytest.raises(UsageError, match="'loss'; use one or more of cycle_l1, ") as caught:
        parse_criteria("loss", BOTH, absent={"classes", "perceptual"})
    assert "identity_l1" in str(caught.value)
    assert "perceptual" not in str(caught.value)
    assert "class_share" not in str(caught.value)


@pytest.mark.parametrize("name", ["diversity", "luminance_correlation_ab", "kid_std", "kid_real_ab", "Kid", "loss"])
def test_a_figure_without_a_better_end_is_refused_with_those_that_have_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"--metric: .* '{name}'; use one or more of cycle_l1, .*kid_ba$"):
        parse_criteria(f"kid,{name}", BOTH)


def test_no_name_is_refused_and_one_said_twice_is_one() -> None:
    with pytest.raises(UsageError, match="--metric names nothing"):
        parse_criteria(" ,", BOTH)
    assert [criterion.name for criterion in parse_criteria("kid,fid,kid,", BOTH)] == ["kid", "fid"]


def test_the_record_comes_back_and_a_damaged_one_is_a_sentence(tmp_path: Path) -> None:
    assert read_best(tmp_path) == {}
    record = {"kid": {"step": 3, "value": 0.5, "better": "lower", "file": "checkpoints/best-kid.safetensors"}}
    write_best(tmp_path, record)
    assert read_best(tmp_path) == record
    for content in (b"{", b"[1]", b'{"kid": 3}', b'{"kid": {"step": 3}}', b"\xff\xfe"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(CycleganError, match=r"best\.json is damaged; .* or delete it"):
            read_best(tmp_path)
