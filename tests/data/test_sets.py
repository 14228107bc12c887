from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config import TrainConfig
from cyclegan.data.sets import HELD_OUT_AT_LEAST, FileList, find_sets, in_hash_order, split
from cyclegan.errors import UsageError


def fill(folder: Path, count: int, prefix: str = "p") -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        (folder / f"{prefix}{index:03}.png").write_bytes(b"x" * index)  # names and sizes are all that is looked at
    return folder


def some(count: int, prefix: str = "p") -> FileList:
    return FileList(Path("root"), tuple(sorted(f"{prefix}{index:05}.png" for index in range(count))))


def refusal(**options: object) -> str:
    with pytest.raises(UsageError) as caught:
        find_sets(TrainConfig(**options), ("a", "b"), "unpaired")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_share_of_each_folder_is_held_out_and_nothing_is_in_both(tmp_path: Path) -> None:
    domains = find_sets(
        TrainConfig(a=str(fill(tmp_path / "a", 60)), b=str(fill(tmp_path / "b", 300, "q")), holdout=0.1),
        ("a", "b"),
        "unpaired",
    )
    for train, test, count in (
        (domains.train["a"], domains.test["a"], 60),
        (domains.train["b"], domains.test["b"], 300),
    ):
        assert not set(train.names) & set(test.names)
        assert len(train) + len(test) == count
        assert list(train.names) == sorted(train.names)
    assert len(domains.test["a"]) == HELD_OUT_AT_LEAST
    assert 15 <= len(domains.test["b"]) <= 45
    assert domains.train["a"].path(0).is_file()
    assert domains.warnings == ()


def test_the_split_is_the_one_that_was_published() -> None:
    # Written down so that no later version moves pictures from one side to the other
    assert split(some(20), 0.05)[1].names == (
        "p00002.png",
        "p00007.png",
        "p00008.png",
        "p00010.png",
        "p00011.png",
        "p00012.png",
        "p00014.png",
        "p00019.png",
    )


def test_adding_pictures_does_not_move_old_ones() -> None:
    before, after = some(400), some(900)
    held_before, held_after = (set(split(pictures, 0.05)[1].names) for pictures in (before, after))
    assert len(held_before) >= HELD_OUT_AT_LEAST
    assert held_before == held_after & set(before.names)


def test_in_a_smaller_folder_adding_pictures_never_takes_one_out_of_training() -> None:
    for count in range(16, 60):
        learnt = set(split(some(count), 0.05)[0].names)
        assert learnt <= set(split(some(count + 1), 0.05)[0].names) | {f"p{count:05}.png"}


@pytest.mark.parametrize(("count", "held"), [(2, 1), (3, 1), (4, 2), (9, 4), (16, 8), (40, 8)])
def test_a_small_folder_gives_eight_but_no_more_than_half(count: int, held: int) -> None:
    train, test = split(some(count, "small"), 1e-9)
    assert (len(train), len(test)) == (count - held, held)


def test_a_holdout_of_zero_holds_nothing_out_and_a_large_one_leaves_something() -> None:
    assert [len(part) for part in split(some(5), 0)] == [5, 0]
    assert [len(part) for part in split(some(5), 0.999)] == [1, 4]


def test_one_picture_serves_as_both_with_a_warning(tmp_path: Path) -> None:
    domains = find_sets(
        TrainConfig(a=str(fill(tmp_path / "a", 1)), b=str(fill(tmp_path / "b", 20))), ("a", "b"), "unpaired"
    )
    assert domains.train["a"] == domains.test["a"]
    assert len(domains.train["a"]) == 1
    assert len(domains.warnings) == 1
    assert "--a" in domains.warnings[0]
    assert "only one training picture" in domains.warnings[0]


def test_test_folders_take_the_place_of_the_share(tmp_path: Path) -> None:
    a, b, test = (str(fill(tmp_path / name, count)) for name, count in (("a", 30), ("b", 30), ("t", 3)))
    domains = find_sets(TrainConfig(a=a, b=b, test_a=test), ("a", "b"), "unpaired")
    assert (len(domains.train["a"]), len(domains.test["a"])) == (30, 3)
    assert (len(domains.train["b"]), len(domains.test["b"])) == (22, 8)


def test_a_data_set_brings_its_four_folders(tmp_path: Path) -> None:
    for name, count in (("trainA", 30), ("trainB", 31), ("testA", 3)):
        fill(tmp_path / name, count)
    domains = find_sets(TrainConfig(data=str(tmp_path)), ("a", "b"), "unpaired")
    parts = (domains.train["a"], domains.train["b"], domains.test["a"], domains.test["b"])
    assert [len(part) for part in parts] == [30, 23, 3, 8]
    assert domains.test["a"].root == tmp_path / "testA"


def test_the_fingerprint_sees_names_sizes_and_roles(tmp_path: Path) -> None:
    config = TrainConfig(a=str(fill(tmp_path / "a", 20)), b=str(fill(tmp_path / "b", 20)))
    first = find_sets(config, ("a", "b"), "unpaired").fingerprint
    assert find_sets(config, ("a", "b"), "unpaired").fingerprint == first
    assert find_sets(replace(config, holdout=0), ("a", "b"), "unpaired").fingerprint != first
    (tmp_path / "a/p003.png").write_bytes(b"another size")
    second = find_sets(config, ("a", "b"), "unpaired").fingerprint
    (tmp_path / "a/p003.png").rename(tmp_path / "a/renamed.png")
    assert len({first, second, find_sets(config, ("a", "b"), "unpaired").fingerprint}) == 3


def test_the_order_by_lot_is_fixed_and_mixed() -> None:
    order = in_hash_order(some(50))
    assert sorted(order) == list(range(50))
    assert order != list(range(50))
    assert order == in_hash_order(some(50))


def test_folders_that_are_not_given_are_named() -> None:
    assert refusal() == "no folder of pictures given for --a and --b; give --a DIR and --b DIR, or --data DIR"
    assert "given for --b;" in refusal(a="x")


def test_a_missing_folder_a_file_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    good = str(fill(tmp_path / "good", 3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    fill(tmp_path / "texts", 0)
    (tmp_path / "texts/readme.txt").touch()
    assert "--a" in refusal(a=str(tmp_path / "gone"), b=good)
    assert "gone does not exist" in refusal(a=str(tmp_path / "gone"), b=good)
    assert "--b" in refusal(a=good, b=str(tmp_path / "file"))
    assert "is a file" in refusal(a=good, b=str(tmp_path / "file"))
    assert "empty is empty" in refusal(a=good, b=str(tmp_path / "empty"))
    assert "holds no picture" in refusal(a=str(tmp_path / "texts"), b=good)
    assert ".jpeg" in refusal(a=str(tmp_path / "texts"), b=good)
    assert "--test-a" in refusal(a=good, b=str(fill(tmp_path / "b", 2)), test_a=str(tmp_path / "empty"))


def test_a_data_set_without_its_parts_names_the_part(tmp_path: Path) -> None:
    fill(tmp_path / "trainA", 3)
    assert "no folder trainB" in refusal(data=str(tmp_path))
    assert "--data" in refusal(data=str(tmp_path / "gone"))
    assert "two ways" in refusal(data=str(tmp_path), a="x")


def test_one_folder_for_two_sets_is_refused_by_whatever_name(tmp_path: Path) -> None:
    good = fill(tmp_path / "good", 3)
    link = tmp_path / "link"
    link.symlink_to(good)
    assert "the same folder as" in refusal(a=str(good), b=str(good / ".." / "good"))
    assert "the same folder as" in refusal(a=str(good), b=str(link))
    fill(good / "inner", 3)
    assert "is inside" in refusal(a=str(good), b=str(good / "inner"))
    other = str(fill(tmp_path / "other", 3))
    assert "--test-a" in refusal(a=str(good), b=other, test_a=str(good / "inner"))


def pair(tmp_path: Path, count: int, only_a: int = 0) -> dict[str, str]:
    """Folders of `count` pairs, .jpg and .png, and of some pictures of A without a partner."""
    for name, ending, more in (("a", "jpg", only_a), ("b", "png", 0)):
        for index in range(count + more):
            path = tmp_path / name / f"{index % 3}" / f"{index:03}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * index)
    return {name: str(tmp_path / name) for name in "ab"}


def stems(pictures: FileList) -> list[str]:
    return [name.rpartition(".")[0] for name in pictures.names]


def test_one_domain_is_found_alone_and_split_as_beside_another(tmp_path: Path) -> None:
    a, b = (str(fill(tmp_path / name, 30)) for name in "ab")
    alone = find_sets(TrainConfig(b=b), ("b",), "unpaired")
    both = find_sets(TrainConfig(a=a, b=b), ("a", "b"), "unpaired")
    assert (list(alone.train), list(alone.test)) == (["b"], ["b"])
    assert (alone.train["b"], alone.test["b"]) == (both.train["b"], both.test["b"])
    assert list(alone.by_role) == ["train_b", "test_b"]
    assert list(both.by_role) == ["train_a", "train_b", "test_a", "test_b"]
    fill(tmp_path / "root/trainB", 30)
    assert list(find_sets(TrainConfig(data=str(tmp_path / "root")), ("b",), "unpaired").train) == ["b"]


def test_a_folder_that_the_method_does_not_read_is_refused(tmp_path: Path) -> None:
    b = str(fill(tmp_path / "b", 3))
    with pytest.raises(UsageError, match=r"^--a: method gan reads only --b; leave it out$"):
        find_sets(TrainConfig(method="gan", a=b, b=b), ("b",), "unpaired")
    with pytest.raises(UsageError, match=r"^--test-a: method gan reads only --b; "):
        find_sets(TrainConfig(method="gan", b=b, test_a=b), ("b",), "unpaired")
    with pytest.raises(UsageError, match=r"^no folder of pictures given for --b; give --b DIR, or --data DIR$"):
        find_sets(TrainConfig(method="gan"), ("b",), "unpaired")


def test_both_sides_of_a_pair_fall_on_the_same_side(tmp_path: Path) -> None:
    sets = find_sets(TrainConfig(**pair(tmp_path, 60)), ("a", "b"), "aligned")
    assert (len(sets.train["a"]), len(sets.test["a"])) == (52, 8)
    for found in (sets.train, sets.test):
        assert stems(found["a"]) == stems(found["b"])
        assert in_hash_order(found["a"]) == in_hash_order(found["b"])
    assert sets.warnings == ()
    unpaired = find_sets(TrainConfig(**pair(tmp_path, 60)), ("a", "b"), "unpaired")
    assert stems(unpaired.test["a"]) != stems(unpaired.test["b"])


def test_what_has_no_partner_is_left_out_and_listed(tmp_path: Path) -> None:
    sets = find_sets(TrainConfig(**pair(tmp_path, 20, only_a=7), holdout=0), ("a", "b"), "aligned")
    assert stems(sets.train["a"]) == stems(sets.train["b"])
    assert len(sets.train["a"]) == 20
    (warning,) = sets.warnings
    assert warning == (
        f"--a: 7 of 27 pictures in {tmp_path / 'a'} have no partner of the same name and are left out: "
        "0/021.jpg, 0/024.jpg, 1/022.jpg, 1/025.jpg, 2/020.jpg, …"
    )


def test_folders_without_a_pair_are_refused_by_their_options(tmp_path: Path) -> None:
    a, b = (str(fill(tmp_path / name, 3, name)) for name in "ab")
    with pytest.raises(UsageError, match=r"^--a and --b: no pictures of A and B share a name; those of a pair "):
        find_sets(TrainConfig(a=a, b=b), ("a", "b"), "aligned")


def test_held_out_pairs_are_given_whole(tmp_path: Path) -> None:
    folders, tests = pair(tmp_path / "train", 9), pair(tmp_path / "test", 4)
    sets = find_sets(TrainConfig(**folders, test_a=tests["a"], test_b=tests["b"]), ("a", "b"), "aligned")
    assert [len(pictures) for pictures in sets.by_role.values()] == [9, 9, 4, 4]
    with pytest.raises(UsageError, match=r"^--test-a: .* holds one side of pairs; give held-out pictures of B too, or"):
        find_sets(TrainConfig(**folders, test_a=tests["a"]), ("a", "b"), "aligned")


def test_a_data_set_may_have_any_number_of_domains(tmp_path: Path) -> None:
    for name in ("trainA", "trainB", "trainC", "testC"):
        fill(tmp_path / name, 20)
    sets = find_sets(TrainConfig(data=str(tmp_path)), ("a", "b", "c"), "unpaired")
    assert [len(pictures) for pictures in sets.by_role.values()] == [12, 12, 20, 8, 8, 20]
    with pytest.raises(UsageError, match="no folder trainD; it needs trainC and trainD, or give --c and --d instead"):
        find_sets(TrainConfig(data=str(tmp_path)), ("c", "d"), "unpaired")
