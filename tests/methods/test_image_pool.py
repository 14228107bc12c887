"""The history of fakes."""

from __future__ import annotations

import torch

from cyclegan.methods.image_pool import ImagePool


def numbered(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_a_pool_of_size_0_returns_what_it_is_given():
    fakes = torch.rand(3, 1, 2, 2, requires_grad=True)
    returned = ImagePool(0).query(fakes)
    assert torch.equal(returned, fakes)
    assert not returned.requires_grad


def test_until_it_is_full_a_pool_stores_and_returns_the_new_ones():
    pool = ImagePool(4)
    assert pool.query(numbered(1, 2, 3)).flatten().tolist() == [1, 2, 3]
    assert pool.stored is not None
    assert pool.stored.flatten().tolist() == [1, 2, 3, 0]


def test_half_of_the_time_an_old_fake_comes_back_and_the_new_one_takes_its_place():
    torch.manual_seed(0)
    pool = ImagePool(50)
    pool.query(numbered(*range(50)))
    old = 0
    for value in range(50, 2050):
        held = set(pool.stored.flatten().tolist())
        returned = pool.query(numbered(value)).item()
        if returned != value:
            old += 1
            assert returned in held
            assert value in pool.stored
            assert returned not in pool.stored
    assert 900 < old < 1100


def test_a_fake_that_is_not_finite_is_never_stored():
    torch.manual_seed(0)
    pool = ImagePool(2)
    pool.query(numbered(1, 2))
    for _ in range(20):
        pool.query(numbered(float("nan")))
    assert torch.isfinite(pool.stored).all()


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


def test_a_smaller_pool_takes_what_it_has_room_for():
    torch.manual_seed(0)
    large, small = ImagePool(5), ImagePool(2)
    large.query(numbered(1, 2, 3, 4, 5))
    small.load_state_dict(large.state_dict())
    assert small.count == 2
    assert small.stored.flatten().tolist() == [1, 2]
