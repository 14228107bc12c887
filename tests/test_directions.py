"""Directions by their keys."""

from __future__ import annotations

import pytest

from cyclegan.directions import NOISE, Direction
from cyclegan.errors import UsageError


def test_a_direction_has_a_key_that_names_it_and_a_way_back() -> None:
    there = Direction.parse("ab")
    assert (there.source, there.target, there.key) == ("a", "b", "ab")
    assert there.reverse == Direction.parse("ba")
    assert there.reverse.reverse == there


def test_nothing_is_translated_to_noise() -> None:
    direction = Direction.parse("zb")
    assert direction.source == NOISE
    assert direction.reverse is None


@pytest.mark.parametrize("key", ["", "a", "abc", "aa", "AB", "a2", "bz", "éa", "a b"])
def test_what_names_no_direction_is_a_sentence(key: str) -> None:
    with pytest.raises(UsageError, match=r"is no direction; write the letter of the source and that of the target"):
        Direction.parse(key)
