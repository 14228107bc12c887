"""The share of named classes, with a network whose classes are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.evaluator import Evaluator, measure_batches
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.efficientnet_lite import VARIANTS, EfficientNetLite
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.class_share import ClassShare, NamedClasses, find_classes, parse_classes
from cyclegan.evaluation.metrics.metric import Measured, Setup, Tools
from cyclegan.figures import wilson
from tests.evaluation.examples import Engine

RED, GREEN, BLUE = range(3)


def by_colour(*indices: int) -> NamedClasses:
    """Classes of a network that scores red, green and blue by the brightness of each channel."""
    network = Extractor("colours", "0" * 64, "", lambda x: x.mean(dim=(2, 3)), lambda pictures: pictures.float())
    return NamedClasses(tuple(map(str, indices)), torch.tensor(indices), network, lambda means: means)


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of weights is installed."""
    for name, variant in VARIANTS.items():
        monkeypatch.setitem(VARIANTS, name, replace(variant, package="no-such-package-of-weights"))


def pictures(folder: Path, *colours: int) -> ImageSet:
    folder.mkdir()
    for number, colour in enumerate(colours):
        picture = np.full((8, 8, 3), 10, np.uint8)
        picture[:, :, colour] = 200
        Image.fromarray(picture).save(folder / f"{number}.png")
    return ImageSet(folder, sorted(path.name for path in folder.iterdir()), 8)


def test_the_share_is_that_of_pictures_whose_top_class_is_a_named_one(tmp_path: Path) -> None:
    real = pictures(tmp_path / "real", RED, RED, BLUE)
    source = pictures(tmp_path / "source", GREEN, GREEN, GREEN, RED)
    fake = pictures(tmp_path / "fake", RED, GREEN, BLUE, BLUE)
    for named, share, of_real, of_source in (([RED], 1 / 4, 2 / 3, 1 / 4), ([RED, BLUE], 3 / 4, 1, 1 / 4)):
        setup = Setup(Direction("a", "b"), Tools(classes=by_colour(*named)), real, source)
        metric = ClassShare(setup)
        for batch in fake.batches(3):
            metric.add(Measured(batch))
        wanted = {"class_share": share, "class_share_real": of_real, "class_share_source": of_source}
        figures, intervals = metric.evaluation()
        assert figures == pytest.approx(wanted)
        assert intervals == {
            "class_share": wilson(share, 4),
            "class_share_real": pytest.approx(wilson(of_real, 3)),
            "class_share_source": wilson(of_source, 4),
        }


def test_it_is_measured_only_where_classes_are_named_and_real_pictures_are_given(tmp_path: Path) -> None:
    real = pictures(tmp_path / "real", RED, BLUE)
    ab = Direction("a", "b")
    given = Setup(ab, Tools(classes=by_colour(RED)), real)
    figures = measure_batches(given, map(Measured, real.batches())).figures
    assert {name for name in figures if name.startswith("class_share")} == {"class_share", "class_share_real"}
    for setup in (Setup(ab, Tools(), real), Setup(ab, Tools(classes=by_colour(RED)))):
        assert not ClassShare.needs <= setup.given


def test_an_evaluator_gives_it_for_each_direction(tmp_path: Path) -> None:
    held_out = {"a": pictures(tmp_path / "a", RED, RED, BLUE, BLUE), "b": pictures(tmp_path / "b", GREEN, RED)}
    swap = Engine(lambda x: x.flip(1))  # red and blue
    evaluator = Evaluator(Tools(classes=by_colour(RED)), ("ab", "ba"), held_out, {})
    figures = evaluator.measure({"ab": swap, "ba": swap}).figures
    shares = {name: value for name, value in figures.items() if name.startswith("class_share")}
    assert shares == {
        "class_share_ab": 0.5,
        "class_share_real_ab": 0.5,
        "class_share_source_ab": 0.5,
        "class_share_ba": 0.0,
        "class_share_real_ba": 0.5,
        "class_share_source_ba": 0.5,
    }


def test_a_picture_passes_once_through_a_network_of_features_and_classes(tmp_path: Path) -> None:
    held_out = {"a": pictures(tmp_path / "a", RED, RED, BLUE), "b": pictures(tmp_path / "b", GREEN, RED)}
    seen: list[int] = []

    def network(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.mean(dim=(2, 3))

    classes = by_colour(RED)
    extractor = replace(classes.network, network=network)
    tools = Tools(extractor, classes=replace(classes, network=extractor))
    evaluator = Evaluator(tools, ("ab", "ba"), held_out, {})
    figures = evaluator.measure({"ab": Engine(lambda x: x)}).figures
    assert {"kid_ab", "class_share_ab", "class_share_real_ab", "class_share_source_ab"} <= figures.keys()
    assert sum(seen) == 3 + 3 + 2  # translations, sources and real pictures
    evaluator.measure({"ab": Engine(lambda x: x)})
    assert sum(seen) == 8 + 3


def test_classes_are_scored_by_the_network_of_the_features_if_it_can(weightless: None) -> None:
    network = EfficientNetLite(VARIANTS["lite1"]).eval()
    lite1 = Extractor("lite1", "1" * 64, "", network.features, VARIANTS["lite1"].prepare, lite=network)
    classes = find_classes("zebra,sorrel", torch.device("cpu"), lite1)
    assert classes is not None
    assert classes.network is lite1
    features = torch.zeros(2, 1280)
    features[1] = network._fc.weight[340] * 1e3
    assert classes.verdict(features).tolist() == [bool(int(network._fc.bias.argmax()) in (340, 339)), True]
    with pytest.raises(UsageError, match=r"--classes: .* not installed"):
        find_classes("zebra", torch.device("cpu"), by_colour(RED).network)
    assert find_classes(None, torch.device("cpu")) is None


def test_classes_are_found_by_name() -> None:
    assert parse_classes("zebra, sorrel,zebra") == (("zebra", "sorrel"), (340, 339))
    with pytest.raises(UsageError, match=r"--classes: 'zebras' is not one of the 1000.*did you mean 'zebra'"):
        parse_classes("sorrel,zebras")
    with pytest.raises(UsageError, match="'qqq' is not one of the 1000 classes of ImageNet; give names as torchvision"):
        parse_classes("qqq")
    with pytest.raises(UsageError, match="--classes names nothing"):
        parse_classes(" ,")
