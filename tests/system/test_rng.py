"""Draws that belong to pictures."""

from __future__ import annotations

import pytest
import torch

from cyclegan.system import rng
from cyclegan.system.rng import Draws


def drawn(first: int, count: int, *, calls: int = 1, step: int = 3, seed: int = 7, pictures: int | None = None):
    """What the last of some calls draws for `count` pictures of eight."""
    with rng.at(Draws(seed=seed, step=step, first=first, count=count, total=8)):
        return [rng.uniform(pictures or count, 5) for _ in range(calls)][-1]


@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("calls", [1, 3])
def test_how_a_batch_is_divided_makes_no_difference(each: int, calls: int) -> None:
    parts = [drawn(first, each, calls=calls) for first in range(0, 8, each)]
    assert torch.equal(torch.cat(parts), drawn(0, 8, calls=calls))


def test_real_pictures_and_fakes_in_one_call_have_draws_of_their_own_each() -> None:
    whole = drawn(0, 8, pictures=16)
    halves = [drawn(first, 4, pictures=8) for first in (0, 4)]
    assert torch.equal(torch.cat([halves[0][:4], halves[1][:4], halves[0][4:], halves[1][4:]]), whole)
    assert len(whole.unique()) == whole.numel()


def test_every_seed_step_call_and_place_draws_anew() -> None:
    all_of_them = [
        drawn(0, 8),
        drawn(0, 8, calls=2),
        drawn(0, 8, step=4),
        drawn(0, 8, seed=8),
        drawn(0, 8, pictures=16)[8:],
    ]
    numbers = torch.cat(all_of_them)
    assert len(numbers.unique()) == numbers.numel()


def test_draws_are_even() -> None:
    with rng.at(Draws(seed=0, step=0, first=0, count=1, total=1)):
        numbers = rng.uniform(1, 100_000)
        lots = rng.integers(7, 1, 70_000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.005
    counts = lots.flatten().bincount(minlength=7)
    assert len(counts) == 7
    assert ((counts - 10_000).abs() < 500).all()


def test_neither_do_they_touch_torchs_generator_nor_does_it_touch_them() -> None:
    torch.manual_seed(0)
    first = drawn(0, 8)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(drawn(0, 8), first)


def test_outside_of_a_part_torchs_generator_draws() -> None:
    torch.manual_seed(0)
    numbers = rng.uniform(3, 2)
    torch.manual_seed(0)
    assert torch.equal(numbers, torch.rand(3, 2))
    assert rng.place() == (0, 1)
    with rng.at(None):
        assert rng.place() == (0, 1)


def test_a_part_beyond_its_batch_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        Draws(seed=0, step=0, first=6, count=3, total=8)
