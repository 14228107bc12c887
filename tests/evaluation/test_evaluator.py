"""Generators of which everything is known, measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.evaluation.evaluator import Evaluator
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.fid_kid import FeatureMoments, frechet
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.translation import Translator
from tests.evaluation.examples import Engine, colours
from tests.models.examples import generators

WAYS = {"ab": Engine(torch.neg), "ba": Engine(torch.neg)}


def evaluator(
    sets: dict[str, ImageSet], *, truth: dict[str, ImageSet] | None = None, batch: int | None = None
) -> Evaluator:
    held_out, training = {"a": sets["testA"], "b": sets["testB"]}, {"a": sets["trainA"], "b": sets["trainB"]}
    return Evaluator(Tools(colours(), batch=batch), WAYS, held_out, training, truth)


def test_generators_that_invert_come_back_whole_and_invert_the_light(sets: dict[str, ImageSet]) -> None:
    found = evaluator(sets).measure(WAYS).figures
    for way, domain in (("ab", "a"), ("ba", "b")):
        assert found[f"luminance_correlation_{way}"] == pytest.approx(-1)
        assert found[f"cycle_l1_{domain}"] == pytest.approx(0, abs=1e-4)
        assert found[f"cycle_ssim_{domain}"] == pytest.approx(1)
        assert found[f"identity_l1_{domain}"] > 5
        assert found[f"diversity_{way}"] == pytest.approx(found[f"diversity_source_{way}"], rel=1e-4)
    assert {name.rpartition("_")[2] for name in found} == {"ab", "ba", "a", "b"}


def test_a_picture_comes_back_by_way_of_both_generators(sets: dict[str, ImageSet]) -> None:
    found = evaluator(sets).measure({"ab": Engine(torch.neg), "ba": Engine(lambda x: x)}).figures
    for domain in "ab":
        unit = torch.cat(list(sets[f"test{domain.upper()}"].batches())).float() / 127.5 - 1
        wanted = float((2 * unit).abs().mean()) * 127.5  # what comes back is the negative
        assert found[f"cycle_l1_{domain}"] == pytest.approx(wanted, rel=1e-5)
        assert found[f"cycle_noise_l1_{domain}"] != found[f"cycle_l1_{domain}"]
    assert found["identity_l1_a"] == 0
    assert found["identity_l1_b"] > 5


def test_one_that_does_nothing_scores_what_doing_nothing_scores(sets: dict[str, ImageSet]) -> None:
    found = evaluator(sets).measure({"ab": Engine(lambda x: x)}, ["ab"]).figures
    for name in ("fid", "kid", "kid_std", "diversity"):
        assert found[f"{name}_ab"] == pytest.approx(found[f"{name}_source_ab"], rel=1e-6)
    assert found["luminance_correlation_ab"] == pytest.approx(1)
    assert found["identity_l1_b"] == 0
    assert not [name for name in found if name.startswith("cycle")]
    inputs, real = (torch.cat([colours()(batch) for batch in sets[name].batches()]) for name in ("testA", "testB"))
    assert found["fid_ab"] == pytest.approx(frechet(FeatureMoments.of(inputs), FeatureMoments.of(real)))


def test_one_that_copies_its_training_pictures_is_found_out(sets: dict[str, ImageSet]) -> None:
    training = torch.cat(list(sets["trainB"].batches())).float() / 127.5 - 1
    taken = iter(range(1000))

    def copied(x: Tensor) -> Tensor:
        return torch.stack([training[next(taken) % 2] for _ in x])

    found = evaluator(sets).measure({"ab": Engine(copied)}, ["ab"]).figures
    assert found["nearest_ab"] == pytest.approx(0, abs=1e-6)
    assert found["nearest_real_ab"] > 0.001
    assert found["diversity_ab"] < found["diversity_real_ab"]


def test_a_generator_that_makes_the_real_pictures_has_no_distance_and_perfect_answers(
    sets: dict[str, ImageSet],
) -> None:
    real = torch.cat(list(sets["testB"].batches())).float() / 127.5 - 1
    there = iter(range(1000))
    way = {"ab": Engine(lambda x: torch.stack([real[next(there) % len(real)] for _ in x]))}
    truth = ImageSet(sets["testB"].root, sets["testB"].names, 32, whole=True)
    found = evaluator(sets, truth={"ab": truth}).measure(way, ["ab"]).figures
    assert found["fid_ab"] == pytest.approx(0, abs=1e-9)
    assert found["kid_ab"] < 0  # unbiased: below what other real pictures have
    assert (found["ssim_ab"], found["l1_ab"], found["within_ab"]) == (pytest.approx(1), 0, 1)


def test_the_same_evaluator_measures_again_and_again_with_the_same_result(sets: dict[str, ImageSet]) -> None:
    networks = generators()
    engines = {way: Translator(network.train(), device="cpu", precision="fp32") for way, network in networks.items()}
    on = evaluator(sets)
    before = torch.random.get_rng_state()
    first, second = on.measure(engines), on.measure(engines)
    assert first == second
    assert first == evaluator(sets).measure(engines)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(network.training for network in networks.values())  # lent by a trainer, and given back as it was


def test_every_figure_but_a_deviation_has_an_interval_that_holds_it(sets: dict[str, ImageSet]) -> None:
    engines = {way: Translator(network, device="cpu", precision="fp32") for way, network in generators().items()}
    truth = {"ab": ImageSet(sets["testB"].root, sets["testB"].names, 32, whole=True)}
    figures, intervals = evaluator(sets, truth=truth).measure(engines)
    assert figures.keys() - intervals.keys() == {name for name in figures if name.startswith("kid_std")}
    for name, (low, high) in intervals.items():
        assert low < figures[name] < high, name


def test_few_pictures_at_a_time_have_the_same_figures(sets: dict[str, ImageSet]) -> None:
    counts: list[int] = []

    def counted(x: Tensor) -> Tensor:
        counts.append(len(x))
        return -x

    ways = {"ab": Engine(counted), "ba": Engine(counted)}
    together, alone = (evaluator(sets, batch=batch).measure(ways).figures for batch in (None, 1))
    assert (max(counts), min(counts)) == (6, 1)
    assert together.keys() == alone.keys()
    for name, value in together.items():
        # but for which noise meets which picture
        assert alone[name] == pytest.approx(value, rel=0.2 if "noise" in name else 1e-5, abs=1e-4), name


def test_other_channels_are_a_sentence(sets: dict[str, ImageSet]) -> None:
    with pytest.raises(UsageError, match="channels"):
        evaluator(sets).measure({"ab": Engine(lambda x: x[:, :1])}, ["ab"])
