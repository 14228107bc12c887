"""What the domains of a run are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cyclegan.config import TrainConfig
from cyclegan.data.sets import find_sets
from cyclegan.directions import Direction
from cyclegan.evaluation.evaluated_model import domain_names, paired_truths
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.images import write_image
from tests.support.pictures import random_pixels


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ({"a": "photos/horses", "b": "photos/zebras"}, ("horses", "zebras")),
        ({"data": "datasets/horse2zebra"}, ("horse", "zebra")),
        ({"data": "datasets/horse2zebra/"}, ("horse", "zebra")),
        ({"data": "datasets/summer2winter_yosemite"}, ("summer", "winter_yosemite")),
        ({"data": "données/été2hiver"}, ("été", "hiver")),
        ({"data": "datasets/demo"}, ("A", "B")),
        ({"data": "horse2zebra/2023"}, ("A", "B")),
        ({"data": "batch2"}, ("A", "B")),
        ({"data": "set_2_b"}, ("A", "B")),
        ({"data": "a2b2c"}, ("A", "B")),
        ({"data": "64to128x2x"}, ("A", "B")),
        ({}, ("A", "B")),
    ],
)
def test_domains_are_called_after_their_folders(places: dict[str, Any], names: tuple[str, str]) -> None:
    assert tuple(domain_names(TrainConfig(**places), ("a", "b")).values()) == names


def test_only_the_domains_of_a_run_are_named() -> None:
    assert domain_names(TrainConfig(b="photos/zebras"), ("b",)) == {"b": "zebras"}
    assert domain_names(TrainConfig(data="horse2zebra"), ("b", "c")) == {"b": "zebra", "c": "C"}


def test_an_unreadable_input_of_a_pair_leaves_its_truth_out(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB", "testA", "testB"):
        for number in range(3):
            write_image(tmp_path / folder / f"{number}.png", random_pixels(16, 16, seed=number))
    (tmp_path / "testA/1.png").write_bytes(b"")
    sets = find_sets(TrainConfig(data=str(tmp_path)), ("a", "b"), "aligned")
    inputs = ImageSet.of(sets.test["a"], 16)
    (truth,) = paired_truths(sets, {"a": inputs}, [Direction.parse("ab")]).values()
    assert len(truth) == 2
    assert truth.names == inputs.names
