from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from cyclegan.data.pairing import RequestSampler, SampleKey, StepSampler, steps_per_epoch
from cyclegan.data.sets import FileList, PictureSets


def keys(
    length_a: int = 7, length_b: int = 4, *, start: int = 0, stop: int = 20, **options: int
) -> list[list[SampleKey]]:
    settings = {"seed": 5, "batch_size": 1} | options
    return list(StepSampler(length_a, length_b, start=start, stop=stop, **settings))


def test_the_keys_of_a_step_do_not_depend_on_where_the_run_began() -> None:
    whole = keys(batch_size=3)
    for start in (1, 7, 19):
        assert keys(batch_size=3, start=start) == whole[start:]
    assert keys(start=20) == []


def test_every_picture_of_a_folder_is_seen_once_before_any_is_seen_again() -> None:
    flat = [key for batch in keys(stop=28, batch_size=2) for key in batch]
    for lap in range(8):
        assert Counter(key.a for key in flat[lap * 7 : lap * 7 + 7]) == Counter(range(7))
    for lap in range(14):
        assert Counter(key.b for key in flat[lap * 4 : lap * 4 + 4]) == Counter(range(4))


def test_what_the_batch_size_leaves_over_is_not_lost() -> None:
    counts = Counter(key.a for batch in keys(10, 3, batch_size=4, stop=5) for key in batch)
    assert set(counts.values()) == {2}


def test_the_smaller_folder_meets_the_larger_in_a_new_order_each_time() -> None:
    flat = [key for batch in keys(40, 8, stop=40) for key in batch]
    laps = {tuple(key.b for key in flat[lap * 8 : lap * 8 + 8]) for lap in range(5)}
    assert len(laps) == 5


def test_epochs_and_seeds_and_domains_have_orders_of_their_own() -> None:
    flat = [batch[0] for batch in keys(30, 30, stop=60)]
    orders = {tuple(key.a for key in part) for part in (flat[:30], flat[30:])}
    orders |= {tuple(key.b for key in part) for part in (flat[:30], flat[30:])}
    orders.add(tuple(batch[0].a for batch in keys(30, 30, stop=30, seed=6)))
    assert len(orders) == 5


@pytest.mark.parametrize(("world", "batch_size"), [(2, 1), (2, 3), (3, 2)])
def test_ranks_together_see_what_one_process_sees(world: int, batch_size: int) -> None:
    whole = keys(batch_size=batch_size * world)
    ranks = [keys(batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == whole


def test_numbers_never_repeat_so_that_no_augmentation_does() -> None:
    numbers = [key.number for batch in keys(batch_size=3, stop=50) for key in batch]
    assert numbers == list(range(150))


def test_one_picture_against_many_works() -> None:
    assert {key.a for batch in keys(1, 9, stop=30) for key in batch} == {0}


def test_the_length_is_the_number_of_steps_left() -> None:
    assert len(StepSampler(3, 3, seed=0, batch_size=1, start=4, stop=10)) == 6


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 9), (2, 4), (9, 1), (20, 1)])
def test_an_epoch_goes_through_the_larger_folder(batch_size: int, steps: int) -> None:
    five, nine = (FileList(Path(), ("x",) * count) for count in (5, 9))
    assert steps_per_epoch(PictureSets(five, nine, five, five, ""), batch_size) == steps


def test_the_order_is_the_one_of_old_runs() -> None:
    # Written down so that a run begun with an earlier version goes on with the same pictures
    assert [batch[0] for batch in keys(stop=3)] == [(0, 1, 1), (1, 2, 3), (2, 0, 2)]


def test_requests_begin_with_one_step_and_grow_to_the_most() -> None:
    steps = StepSampler(7, 4, seed=5, batch_size=2, start=3, stop=40)
    requests = list(RequestSampler(steps, 8, workers=2))
    assert [len(request.steps) for request in requests] == [1, 1, 2, 2, 4, 4, 8, 8, 7]
    assert [keys for request in requests for keys in request.steps] == list(steps)
    assert all(len(request.steps) == 1 for request in RequestSampler(steps, 1, workers=0))


def test_each_iteration_takes_slots_of_its_own() -> None:
    sampler = RequestSampler(StepSampler(7, 4, seed=5, batch_size=1, start=0, stop=9), 1, workers=1)
    sampler.take = iter(range(100)).__next__
    first = iter(sampler)
    assert next(first).slot == 0
    sampler.take = iter(range(100, 200)).__next__
    assert next(iter(sampler)).slot == 100
    assert next(first).slot == 1
