from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from cyclegan.data.pairing import Aligned, Sample, StepSampler, Unpaired, group_steps, groups
from cyclegan.data.sets import FileList, PictureSets, steps_per_epoch


def keys(
    length_a: int = 7, length_b: int = 4, *, start: int = 0, stop: int = 20, seed: int = 5, **options: int
) -> list[list[Sample]]:
    pairing = Unpaired({"a": length_a, "b": length_b}, seed)
    return list(StepSampler(pairing, start=start, stop=stop, **({"batch_size": 1} | options)))


def test_the_keys_of_a_step_do_not_depend_on_where_the_run_began() -> None:
    whole = keys(batch_size=3)
    for start in (1, 7, 19):
        assert keys(batch_size=3, start=start) == whole[start:]
    assert keys(start=20) == []


def test_every_picture_of_a_folder_is_seen_once_before_any_is_seen_again() -> None:
    flat = [key for batch in keys(stop=28, batch_size=2) for key in batch]
    for lap in range(8):
        assert Counter(key.indices[0] for key in flat[lap * 7 : lap * 7 + 7]) == Counter(range(7))
    for lap in range(14):
        assert Counter(key.indices[1] for key in flat[lap * 4 : lap * 4 + 4]) == Counter(range(4))


def test_what_the_batch_size_leaves_over_is_not_lost() -> None:
    counts = Counter(key.indices[0] for batch in keys(10, 3, batch_size=4, stop=5) for key in batch)
    assert set(counts.values()) == {2}


def test_the_smaller_folder_meets_the_larger_in_a_new_order_each_time() -> None:
    flat = [key for batch in keys(40, 8, stop=40) for key in batch]
    laps = {tuple(key.indices[1] for key in flat[lap * 8 : lap * 8 + 8]) for lap in range(5)}
    assert len(laps) == 5


def test_epochs_and_seeds_and_domains_have_orders_of_their_own() -> None:
    flat = [batch[0] for batch in keys(30, 30, stop=60)]
    orders = {tuple(key.indices[0] for key in part) for part in (flat[:30], flat[30:])}
    orders |= {tuple(key.indices[1] for key in part) for part in (flat[:30], flat[30:])}
    orders.add(tuple(batch[0].indices[0] for batch in keys(30, 30, stop=30, seed=6)))
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
    assert {key.indices[0] for batch in keys(1, 9, stop=30) for key in batch} == {0}


def test_the_length_is_the_number_of_steps_left() -> None:
    assert len(StepSampler(Unpaired({"b": 3}, 0), batch_size=1, start=4, stop=10)) == 6


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 9), (2, 4), (9, 1), (20, 1)])
def test_an_epoch_goes_through_the_larger_folder(batch_size: int, steps: int) -> None:
    five, nine = (FileList(Path(), ("x",) * count) for count in (5, 9))
    assert steps_per_epoch(PictureSets({"a": five, "b": nine}, {"a": five, "b": five}, ""), batch_size) == steps


def test_the_order_is_the_one_of_old_runs() -> None:
    # Written down so that a run begun with an earlier version goes on with the same pictures
    assert [batch[0] for batch in keys(stop=3)] == [(0, (1, 1)), (1, (2, 3)), (2, (0, 2))]


def test_requests_begin_with_one_step_and_grow_to_the_most() -> None:
    steps = StepSampler(Unpaired({"a": 7, "b": 4}, 5), batch_size=2, start=3, stop=40)
    requests = list(group_steps(steps, 8, workers=2))
    assert [len(request) for request in requests] == [1, 1, 2, 2, 4, 4, 8, 8, 7]
    assert [keys for request in requests for keys in request] == list(steps)
    assert all(len(request) == 1 for request in group_steps(steps, 1, workers=0))


def test_what_is_seen_of_a_domain_does_not_depend_on_the_others() -> None:
    alone, beside = Unpaired({"b": 4}, 5), Unpaired({"a": 7, "b": 4, "c": 9}, 5)
    assert [alone.indices(number)[0] for number in range(40)] == [beside.indices(number)[1] for number in range(40)]
    assert alone.stream(3, "b") == beside.stream(3, "b") != beside.stream(3, "a")


def test_pictures_that_belong_together_meet_in_every_sample_and_are_drawn_alike() -> None:
    pairing = Aligned({"a": 7, "b": 7, "c": 7}, 5)
    samples = [pairing.indices(number) for number in range(28)]
    assert all(len(indices) == 3 and len(set(indices)) == 1 for indices in samples)
    for lap in range(4):
        assert Counter(indices[0] for indices in samples[lap * 7 : lap * 7 + 7]) == Counter(range(7))
    assert len({tuple(samples[lap * 7 : lap * 7 + 7]) for lap in range(4)}) == 4
    assert pairing.stream(3, "a") == pairing.stream(3, "c") != pairing.stream(4, "a")
    assert pairing.indices(2) == samples[2]  # going back is no different from going on


def test_pictures_belong_together_by_their_path_without_the_ending() -> None:
    names = {"a": ("x/1.jpg", "1.jpg", "2.b.jpg", "alone.jpg"), "b": ("2.b.png", "1.TIF", "x/1.png", "y/1.png")}
    assert Aligned.match(names) == {"a": ("1.jpg", "2.b.jpg", "x/1.jpg"), "b": ("1.TIF", "2.b.png", "x/1.png")}
    assert Unpaired.match(names) == names


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (("1.jpg", "1.png"), ("1.jpg",), "1.jpg and 1.png of A have the same name up to the extension"),
        (("1_photo.png",), ("1_label.png",), "no pictures of A and B share a name"),
    ],
)
def test_what_cannot_be_paired_is_said_in_words(a: tuple[str, ...], b: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Aligned.match({"a": a, "b": b})


@pytest.mark.parametrize(("domains", "expected"), [("b", [("b",)]), ("abc", [("a",), ("b",), ("c",)])])
def test_only_what_belongs_together_is_read_together(domains: str, expected: list[tuple[str, ...]]) -> None:
    assert groups(Unpaired, tuple(domains)) == expected
    assert groups(Aligned, tuple(domains)) == [tuple(domains)]
