"""The bench of planted failures: what is planted, what is asked of each figure, and that a broken figure is found."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cyclegan.data.demo.write import write_demo
from cyclegan.directions import DEFAULT, Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.features import LITE, Extractor, lite_extractor
from cyclegan.evaluation.features.efficientnet_lite import VARIANTS
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.evaluation.planted import (
    CHECKERBOARDS,
    COLOUR,
    FAILURES,
    HALF,
    LEVELS,
    NOISES,
    NOTHING,
    ONE,
    PATCHES,
    PLANTED,
    REAL,
    SPECKLES,
    TRAINING,
    Material,
)
from cyclegan.evaluation.self_test import ORDERS, Rule, SelfTest, measure_planted
from cyclegan.figures import FIGURES
from cyclegan.images import list_images
from tests.support.pictures import random_batch

AB = Direction.parse(DEFAULT)
CPU = torch.device("cpu")
COUNT = 8  # pictures of a set


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageSet]:
    """Drawn animals of 64 × 64 pixels, by folder."""
    root = tmp_path_factory.mktemp("animals")
    write_demo(root, count=40, test_count=2 * COUNT)
    folders = ("trainA", "trainB", "testA", "testB")
    return {name: ImageSet(root / name, list_images(root / name), 64) for name in folders}


def measured(animals: dict[str, ImageSet], tools: Tools) -> SelfTest:
    return measure_planted(AB, tools, animals["testA"], animals["testB"], animals["trainB"])


def extractor(function: object) -> Extractor:
    """Features computed by a function of N × 3 × S × S pictures in [0, 1]."""
    return Extractor("made", "0" * 64, "as they are", function, lambda pictures: pictures.float() / 255)  # type: ignore[arg-type]


def broken(test: SelfTest, name: str) -> set[tuple[str, str]]:
    """The pairs of sets that a figure has in the wrong order."""
    return {(rule.low, rule.high) for figure, rule, holds in test.judged() if figure == name and not holds}


def material(seed: int = 0) -> Material:
    # Away from black and white, so that nothing is cut off
    source, target, training = (random_batch(4, 64, part) // 8 + 100 for part in range(3))
    return Material(source, target // 2, training, seed)


def test_sets_are_planted_the_same_way_again_and_are_pictures_of_one_kind() -> None:
    for name, plant in PLANTED.items():
        pictures = plant(material())
        assert (pictures.shape, pictures.dtype) == ((4, 3, 64, 64), torch.uint8), name
        assert torch.equal(pictures, plant(material())), name
        assert torch.equal(pictures, material().source) == (name == NOTHING), name
    for name in (SPECKLES[0], NOISES[0], PATCHES):
        assert not torch.equal(PLANTED[name](material()), PLANTED[name](material(seed=1))), name


def test_speckle_and_noise_have_their_strength_and_only_speckle_has_blobs() -> None:
    source = material().source.float()
    for names, least, most in ((SPECKLES, 0.4, 0.9), (NOISES, -0.1, 0.1)):
        for name, level in zip(names, LEVELS.values(), strict=True):
            change = PLANTED[name](material()).float() - source
            assert float(change.std()) == pytest.approx(level, rel=0.05), name
            beside = torch.corrcoef(torch.stack([change[..., 1:].flatten(), change[..., :-1].flatten()]))[0, 1]
            assert least < float(beside) < most, name
            red, green = (change[:, channel].flatten() for channel in (0, 1))
            assert abs(float(torch.corrcoef(torch.stack([red, green]))[0, 1])) < 0.1, name  # coloured


def test_the_other_sets_are_what_their_names_say() -> None:
    known = material()
    a, b = known.source, known.target
    shares = (PLANTED[COLOUR](known).float().mean() - a.float().mean()) / (b.float().mean() - a.float().mean())
    assert float(shares) == pytest.approx(0.3, abs=0.01)
    for name, period in zip(CHECKERBOARDS, (2, 4), strict=True):
        change = PLANTED[name](known).int() - a.int()
        assert set(change.unique().tolist()) == {-24, 24}
        assert torch.equal(change[..., period:], change[..., :-period])
        assert torch.equal(change[..., period // 2 :], -change[..., : -(period // 2)])
    half = PLANTED[HALF](known)
    assert torch.equal(half[:2], b[:2])
    assert torch.equal(half[2:], a[2:])
    assert all(torch.equal(picture, b[0]) for picture in PLANTED[ONE](known))
    assert torch.equal(PLANTED[TRAINING](known), known.training)
    changed = (PLANTED[PATCHES](known) != a).any(dim=1).double().mean(dim=(1, 2))
    assert all(0.06 < float(share) <= 0.25 for share in changed)


def test_every_figure_of_pictures_alone_has_an_order_of_sets_that_are_planted() -> None:
    given = {"real", "source", "training", "extractor", "classifier", "classes"}
    offered = {name for metric in METRICS.values() if metric.needs <= given for name in metric.gives}
    assert offered & FIGURES.keys() <= ORDERS.keys()
    assert {
        name for order in ORDERS.values() for rule in order.rules for name in (rule.low, rule.high)
    } <= PLANTED.keys()
    for name in ("kid", "fid", "judge", "class_share"):  # no failure is forgotten
        assert {rule.low for rule in ORDERS[name].rules} | {rule.high for rule in ORDERS[name].rules} >= {*FAILURES}


@pytest.mark.parametrize(
    ("rule", "low", "high", "holds"),
    [
        (Rule("x", "y", ""), (1.0, 0.0), (1.0, 0.0), True),
        (Rule("x", "y", ""), (1.1, 0.0), (1.0, 0.0), False),
        (Rule("x", "y", ""), (1.25, 0.25), (1.0, 0.4), True),
        (Rule("x", "y", ""), (1.26, 0.25), (1.0, 0.4), False),
        (Rule("x", "y", "", 0.5), (0.7, 0.4), (1.0, 0.4), True),
        (Rule("x", "y", "", 0.5), (0.71, 0.4), (1.0, 0.4), False),
        (Rule("x", "y", "", strict=True), (1.0, 0.3), (1.0, 0.4), False),
        (Rule("x", "y", "", strict=True), (0.9, 0.3), (1.0, 0.4), True),
        (Rule("x", "y", "", 0.5, strict=True), (0.6, 0.0), (1.0, 0.0), False),
        (Rule("x", "y", "", 2.0, pictures=3), (0.35, 0.9), (0.1, 0.9), True),
        (Rule("x", "y", "", 2.0, pictures=3), (0.36, 0.9), (0.1, 0.9), False),
        (Rule("x", "y", ""), (math.nan, 0.0), (1.0, 0.0), False),
        (Rule("x", "y", ""), (1.0, 0.0), (math.nan, 0.0), False),
    ],
)
def test_a_rule_holds_within_its_margin(rule: Rule, low: object, high: object, holds: bool) -> None:
    assert rule.holds({"x": low, "y": high}, 20) == holds  # type: ignore[dict-item]


@pytest.mark.slow
@pytest.mark.skipif(VARIANTS[LITE].folder is None, reason="the extra features is not installed")
def test_figures_by_lite0_put_drawn_animals_in_order(animals: dict[str, ImageSet]) -> None:
    test = measured(animals, Tools(extractor=lite_extractor(LITE, CPU)))
    assert test.count == COUNT
    assert test.broken() == {}


@pytest.mark.slow
def test_figures_that_are_fooled_by_speckle_are_named_with_their_rules(animals: dict[str, ImageSet]) -> None:
    """Features that see whether a picture is busy take speckle for stripes."""

    def busy(x: Tensor) -> Tensor:
        return (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))

    plain, striped = (busy(next(animals[name].batches()) / 255).median() for name in ("trainA", "trainB"))
    assert plain < striped

    def fooled(x: Tensor) -> Tensor:
        found = (busy(x) > (plain + striped) / 2).float()
        return torch.stack([found, 1 - found], dim=1)

    test = measured(animals, Tools(extractor=extractor(fooled)))
    assert (NOTHING, SPECKLES[1]) in broken(test, "kid")
    assert {"kid", "fid"} <= test.broken().keys()
    (line,) = (line for line in test.lines() if f"KID: {NOTHING!r}" in line and SPECKLES[1] in line)
    assert line.startswith("broken")
    assert line.endswith(")")
    (entry,) = (
        rule
        for rule in test.record()["rules"]
        if (rule["figure"], rule["high"]) == ("kid", SPECKLES[1]) and rule["low"] == NOTHING
    )
    assert not entry["holds"]


@pytest.mark.slow
def test_features_that_are_always_the_same_break_a_rule_of_every_figure_made_of_them(
    animals: dict[str, ImageSet],
) -> None:
    test = measured(animals, Tools(extractor=extractor(lambda x: torch.ones(len(x), 8))))
    assert test.broken().keys() == {"kid", "fid", "diversity", "nearest"}
    assert (REAL, HALF) in broken(test, "kid")
    assert (TRAINING, REAL) in broken(test, "nearest")


def test_too_few_pictures_are_a_sentence(animals: dict[str, ImageSet]) -> None:
    few = ImageSet(animals["testB"].root, animals["testB"].names[:15], 64)
    with pytest.raises(UsageError, match=r"--self-test: ab needs 8 held-out .* there are 16, 15 and 40; .*--data"):
        measure_planted(AB, Tools(), animals["testA"], few, animals["trainB"])
