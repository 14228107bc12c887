"""What translations are called: in the same format and place unless asked otherwise, never two alike."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from cyclegan.errors import UsageError
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation import folder as batch
from cyclegan.translation.job.naming import Naming, Shard, cleaned, folding_of, refuse_clashes
from tests.translation.examples import files, picture


@pytest.mark.parametrize(
    ("naming", "name", "target"),
    [
        (Naming(), "a/b.JPG", "a/b.JPG"),
        (Naming(), "a/b.c", "a/b.c.png"),
        (Naming(".png"), "a/b.jpg", "a/b.png"),
        (Naming(".png"), "a.b/c", "a.b/c.png"),
        (Naming(suffix="_zebra"), "a/b.x.tif", "a/b.x_zebra.tif"),
        (Naming(".webp", "-1", flat=True), "a/b/c.png", "c-1.webp"),
        (Naming(flat=True), "- -\n.png", "- -\n.png"),
    ],
)
def test_a_name_changes_only_where_it_is_asked_to(naming: Naming, name: str, target: str) -> None:
    assert naming.target(name) == target


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((".exe",), "--format exe: unknown; use one of .*png"),
        ((None, "a/b"), "--suffix a/b: not valid in a file name"),
    ],
)
def test_a_naming_that_cannot_be_is_a_sentence(arguments: tuple[str | None, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Naming(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "..", "a/..", "", "./", "/", ".cyclegan/a.png"])
def test_no_name_leads_out_of_a_folder_or_into_the_record(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        cleaned(name, absolute=True)


def test_names_are_rid_of_what_means_nothing() -> None:
    assert cleaned(".//a/./b..png", absolute=False) == "a/b..png"
    assert cleaned("//a/b.png", absolute=True) == "a/b.png"
    with pytest.raises(ValueError, match="absolute"):
        cleaned("/a/b.png", absolute=False)


def test_each_picture_is_in_one_part_of_a_job_and_parts_are_of_like_size() -> None:
    names = [f"{number}.png" for number in range(3000)] + ["\udcff.png"]
    parts = [[name for name in names if Shard(number, 3).holds(name)] for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(900 < len(part) < 1100 for part in parts)
    assert Shard(2, 3).holds("5.png") == Shard(2, 3).holds("5.png")
    with pytest.raises(UsageError, match="--shard 4/3"):
        Shard(4, 3)


def test_which_part_a_name_is_in_never_changes() -> None:
    # Machines that share a job may run other versions of Python; results of other versions of ours lie about
    assert [next(n for n in (1, 2, 3) if Shard(n, 3).holds(f"{i}.png")) for i in range(8)] == WHERE


WHERE = [2, 1, 3, 2, 1, 3, 2, 3]


@pytest.mark.parametrize(
    ("naming", "names", "sentence"),
    [
        (Naming(".png"), ["a.jpg", "a.png"], "a.jpg and a.png would both become a.png; leave out --format or --flat"),
        (Naming(flat=True), ["x/a.png", "y/a.png", "z/a.png"], r"would both become a.png \(2 such pictures\)"),
    ],
)
def test_clashes_are_found_before_any_work(
    tmp_path: Path, negative: Translator, naming: Naming, names: list[str], sentence: str
) -> None:
    for name in names:
        picture(tmp_path / "in" / name)
    with pytest.raises(UsageError, match=sentence):
        translate_folder(negative, tmp_path / "in", tmp_path / "out", naming=naming)
    assert not (tmp_path / "out").exists()


def _as_one(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


@pytest.mark.parametrize("names", [("a.png", "A.png"), ("\u00e9.png", "e\u0301.png"), ("X/a.png", "x/a.png")])
def test_names_that_the_file_system_takes_for_one_clash(
    tmp_path: Path, negative: Translator, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        picture(tmp_path / "in" / name)
    translate_folder(negative, tmp_path / "in", tmp_path / "kept")
    assert files(tmp_path / "kept") == sorted(names)
    monkeypatch.setattr(batch, "folding_of", lambda folder: _as_one)
    with pytest.raises(UsageError, match=r"would become one file, since the file system of .* takes"):
        translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == []


def test_on_a_file_system_that_folds_names_what_is_there_in_another_case_is_done(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in/a.png")
    translate_folder(negative, tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/a.png").rename(tmp_path / "out/A.png")
    monkeypatch.setattr(batch, "folding_of", lambda folder: _as_one)
    assert translate_folder(negative, tmp_path / "in", tmp_path / "out").skipped == 1


def test_what_a_file_system_does_to_names_is_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folding_of(tmp_path) is None  # Linux keeps names as they are
    exists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: exists(tmp_path / "probe-\u00e9"))
    fold = folding_of(tmp_path)
    assert fold is not None
    assert fold("STRASSE\u00c9") == fold("stra\u00dfee\u0301")
    assert list(tmp_path.iterdir()) == []


def test_clashes_are_told_from_names_with_equal_hashes() -> None:
    class Same(str):
        def __hash__(self) -> int:
            return 1

    refuse_clashes(lambda: [("a", Same("a")), ("b", Same("b"))], None, "")
    with pytest.raises(UsageError, match="a and c would both become x"):
        refuse_clashes(lambda: [("a", Same("x")), ("b", Same("b")), ("c", Same("x"))], None, "")
