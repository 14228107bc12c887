"""What the domains of a run are called."""

from __future__ import annotations

from typing import Any

import pytest

from cyclegan.config import TrainConfig
from cyclegan.evaluation.evaluated_model import domain_names


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
