"""The history of fakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cyclegan.errors import CycleganError
from cyclegan.methods.image_pool import ImagePool
from cyclegan.system import rng
from cyclegan.system.rng import Draws


def numbered(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def held(pool: ImagePool) -> list[float]:
    """The values of all stored pictures, lane after lane."""
    return [fake.item() for place in sorted(pool.lanes) for fake in pool.lanes[place]]


def test_a_pool_of_size_0_returns_what_it_is_given():
    fakes = torch.rand(3, 1, 2, 2, requires_grad=True)
    returned = ImagePool(0).query(fakes)
    assert torch.equal(returned, fakes)
    assert not returned.requires_grad


def test_until_it_is_full_a_pool_stores_and_returns_the_new_ones():
    pool = ImagePool(4)
    assert pool.query(numbered(1, 2, 3)).flatten().tolist() == [1, 2, 3]
    assert held(pool) == [1, 2, 3]


def test_half_of_the_time_an_old_fake_comes_back_and_the_new_one_takes_its_place():
    torch.manual_seed(0)
    pool = ImagePool(50)
    pool.query(numbered(*range(50)))
    old = 0
    for value in range(50, 2050):
        before = set(held(pool))
        returned = pool.query(numbered(value)).item()
        if returned != value:
            old += 1
            assert returned in before
            assert value in held(pool)
            assert returned not in held(pool)
    assert 900 < old < 1100


def test_a_fake_that_is_not_finite_is_never_stored():
    torch.manual_seed(0)
    pool = ImagePool(2)
    pool.query(numbered(1, 2))
    for _ in range(20):
        pool.query(numbered(float("nan")))
    assert np.isfinite(held(pool)).all()


def test_a_restored_pool_goes_on_as_the_first_would_have():
    torch.manual_seed(0)
    first, second = ImagePool(5), ImagePool(5)
    first.query(torch.rand(8, 1, 2, 2))
    second.load_state_dict(first.state_dict())
    fakes = torch.rand(8, 1, 2, 2)
    torch.manual_seed(1)
    expected = first.query(fakes)
    torch.manual_seed(1)
    assert torch.equal(second.query(fakes), expected)


@pytest.mark.parametrize("count", [2, 5])  # a pool with room left, and a full one
def test_pictures_of_another_size_than_those_of_a_state_are_refused(count):
    first, second = ImagePool(5), ImagePool(5)
    first.query(torch.rand(count, 1, 2, 2))
    second.load_state_dict(first.state_dict())
    with pytest.raises(CycleganError, match="pictures of another size"):
        second.query(torch.rand(8, 1, 4, 4))


def test_a_smaller_pool_takes_what_it_has_room_for():
    torch.manual_seed(0)
    large, small = ImagePool(5), ImagePool(2)
    large.query(numbered(1, 2, 3, 4, 5))
    small.load_state_dict(large.state_dict())
    assert held(small) == [1, 2]


def play(pool: ImagePool, steps: range, first: int = 0, count: int = 4) -> torch.Tensor:
    """What a pool returns for pictures of a batch of four, numbered by step and place: steps × count."""
    returned = []
    for step in steps:
        with rng.at(Draws(seed=0, step=step, first=first, count=count, total=4)):
            returned.append(pool.query(numbered(*(10 * step + first + place for place in range(count)))).flatten())
    return torch.stack(returned)


@pytest.mark.parametrize("size", [2, 6, 8])
def test_pools_of_several_processes_are_one(size: int) -> None:
    whole, parts = ImagePool(size), [ImagePool(size) for _ in range(2)]
    expected = play(whole, range(60))
    found = torch.cat([play(pool, range(60), first=2 * rank, count=2) for rank, pool in enumerate(parts)], 1)
    assert torch.equal(found, expected)
    assert len(held(whole)) == max(size, 4)
    parts[0].join(parts[1].get_extra_state())
    assert held(parts[0]) == held(whole)


def test_a_state_goes_on_with_another_number_of_processes() -> None:
    whole = ImagePool(8)
    play(whole, range(20))
    resumed = [ImagePool(8) for _ in range(2)]
    for rank, pool in enumerate(resumed):
        pool.load_state_dict(whole.state_dict())
        pool.deal(4)
        pool.keep(range(2 * rank, 2 * rank + 2))
        assert len(held(pool)) == 4
    expected = play(whole, range(20, 60))
    assert torch.equal(
        torch.cat([play(pool, range(20, 60), 2 * rank, 2) for rank, pool in enumerate(resumed)], 1), expected
    )


@pytest.mark.slow
def test_an_old_fake_comes_back_as_often_and_as_old_from_lanes_as_from_one_pool() -> None:
    ages = {}
    for name, total in (("lanes", 4), ("one", 1)):
        pool, seen = ImagePool(40), []
        for step in range(4000):
            fakes = numbered(*[float(step)] * 4)
            with rng.at(Draws(seed=1, step=step, first=0, count=4, total=4) if total == 4 else None):
                seen += [step - value for value in pool.query(fakes).flatten().tolist()]
        ages[name] = np.array(seen[2000:])
    assert abs((ages["lanes"] > 0).mean() - (ages["one"] > 0).mean()) < 0.03
    assert abs(ages["lanes"].mean() / ages["one"].mean() - 1) < 0.1


def test_a_state_from_before_there_were_lanes_is_taken_over_and_dealt_out() -> None:
    pool = ImagePool(6)
    pool.set_extra_state({"stored": numbered(1, 2, 3, 4, 5)})
    assert held(pool) == [1, 2, 3, 4, 5]
    pool.deal(3)
    assert {place: len(lane) for place, lane in pool.lanes.items()} == {0: 2, 1: 2, 2: 1}
    assert held(pool) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("stored", [torch.zeros(2, 3, dtype=torch.complex64), torch.zeros(()), 7])
def test_what_is_no_stored_picture_is_refused(stored: object) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError, IndexError)):
        ImagePool(4).set_extra_state({"stored": stored, "lanes": [[0, 2]], "total": 1})


def test_stored_pictures_of_another_size_are_a_sentence_when_one_of_them_is_due() -> None:
    pool = ImagePool(1)
    pool.set_extra_state({"stored": torch.zeros(1, 3, 9, 9), "lanes": [[0, 1]], "total": 1})
    with pytest.raises(CycleganError, match="pictures of another size"):
        pool.query(torch.zeros(50, 3, 8, 8))
