"""What a source holds: folders, lists and their names, whatever bytes these are made of."""

from __future__ import annotations

import io
import os
import socket
import sys
from pathlib import Path

import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import read_image
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.job.source import is_single, list_source
from tests.translation.examples import files, picture

STRANGE = [
    "with space.png",
    "new\nline.png",
    "-dash.png",
    "🦓.png",
    "ünïcødé.png",
    "\udcff\udcfe.png",
    " .png",
    "a.b.c.png",
]


def test_a_folder_is_listed_by_names_alone(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/d.tif", "notes.txt", ".hidden.png", ".folder/x.png", "x.png/inner.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("")
    (tmp_path / "in/empty.png").mkdir()
    os.mkfifo(tmp_path / "in/fifo.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "in/socket.png"))
    (tmp_path / "in/nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "in/loop.png").symlink_to(tmp_path / "in/loop.png")
    listing = list_source(str(tmp_path / "in"), tmp_path / "out")
    pictures = ["b.png", "a/c.JPG", "a/d.tif", "x.png/inner.png"]
    others = ["empty.png", "fifo.png", "socket.png", "nowhere.png", "loop.png"]  # reading says what is wrong with them
    assert listing.names == sorted(pictures + others)
    assert listing.place(0) == (str(tmp_path / "in/a/c.JPG"), None)


def test_links_to_folders_are_followed_but_never_round_or_into_the_destination(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/sub/b.png", "else/c.png", "out/d.png"):
        picture(tmp_path / name)
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/other").symlink_to(tmp_path / "else")
    (tmp_path / "in/results").symlink_to(tmp_path / "out")
    listing = list_source(str(tmp_path / "in"), tmp_path / "out")
    assert listing.names == ["a.png", "other/c.png", "sub/b.png"]


def test_no_file_is_asked_for_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        picture(tmp_path / f"in/{number}.png")
    asked: list[object] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *rest, **options: asked.append(path) or stat(path, *rest, **options))
    assert len(list_source(str(tmp_path / "in"), tmp_path / "out").names) == 50
    assert not [path for path in asked if str(path).endswith(".png")]


def test_a_folder_that_cannot_be_listed_is_a_failure_and_the_first_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/closed/b.png")
    scandir = os.scandir
    closed = str(tmp_path / "in/closed")

    def refusing(path: str) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    listing = list_source(str(tmp_path / "in"), tmp_path / "out")
    assert listing.names == ["a.png"]
    assert [(name, failure.reason) for name, failure in listing.bad] == [
        ("closed/", "cannot list it (permission denied)")
    ]
    closed = str(tmp_path / "in")
    with pytest.raises(CycleganError, match=r"SOURCE: cannot list .* \(permission denied\)"):
        list_source(str(tmp_path / "in"), tmp_path / "out")


def test_names_of_any_bytes_survive_from_end_to_end(tmp_path: Path, negative: Translator) -> None:
    for number, name in enumerate(STRANGE):
        picture(tmp_path / "in" / name, seed=number)
        picture(tmp_path / "in/-deep \n" / name, seed=number)
    assert translate_folder(negative, tmp_path / "in", tmp_path / "out").failed == []
    assert files(tmp_path / "out") == sorted([*STRANGE, *(f"-deep \n/{name}" for name in STRANGE)])


@pytest.mark.parametrize(("separator", "suffix"), [(b"\n", ".txt"), (b"\0", ".lst"), (b"\0", ".LIST")])
def test_a_list_names_pictures_as_bytes(
    tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch, separator: bytes, suffix: str
) -> None:
    names = [name for name in STRANGE if separator == b"\0" or "\n" not in name]
    for number, name in enumerate(names):
        picture(tmp_path / "in" / name, seed=number)
    monkeypatch.chdir(tmp_path / "in")
    absolute = os.fsencode(tmp_path / "in" / names[0])
    given = [*map(os.fsencode, names), b"./" + os.fsencode(names[1]), absolute, b"missing.png", b"../in/a.png", b""]
    (tmp_path / f"list{suffix}").write_bytes(separator.join(given))
    summary = translate_folder(negative, tmp_path / f"list{suffix}", tmp_path / "out")
    assert summary.failed == [
        ("../in/a.png", "its name leads out of the folder, by .."),
        ("missing.png", "no such file or directory"),
    ]
    assert files(tmp_path / "out") == sorted(names)  # what is given twice, by whatever name, is one picture


def test_absolute_names_in_a_list_lose_their_slash_and_others_are_known_by_content(
    tmp_path: Path, negative: Translator
) -> None:
    pixels = picture(tmp_path / "camera", format="PNG")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/camera\n")
    translate_folder(negative, tmp_path / "list.txt", tmp_path / "out")
    made = tmp_path / "out" / str(tmp_path).lstrip("/") / "camera.png"
    assert (read_image(made) == 255 - pixels).all()


def test_a_list_on_stdin_is_a_list(tmp_path: Path, negative: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a b.png")
    picture(tmp_path / "out/old.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b.png\nout/old.png\n")))
    translate_folder(negative, "-", "out")
    assert files(tmp_path / "out") == ["a b.png", "old.png"]  # what lies in the output is not translated again
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(UsageError, match="the list names no picture"):
        translate_folder(negative, "-", "out")


def test_two_names_of_a_list_that_become_one_clash(tmp_path: Path, negative: Translator) -> None:
    picture(tmp_path / "a.png")
    monkey = tmp_path / "list.txt"
    monkey.write_text(f"{tmp_path}/a.png\n{str(tmp_path).lstrip('/')}/a.png\n")
    with pytest.raises(UsageError, match="would both become"):
        translate_folder(negative, monkey, tmp_path / "out")


def test_what_is_one_picture_is_told_by_the_name(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    kinds = {"a.png": True, "a": True, "a.txt": False, "a.tar": False, "-": False, str(tmp_path / "folder.txt"): False}
    assert {name: is_single(name) for name in kinds} == kinds


def test_a_compressed_archive_is_a_sentence(tmp_path: Path, negative: Translator) -> None:
    for name in ("a.tar.gz", "a.TGZ", "a.tar.zst"):
        (tmp_path / name).write_bytes(b"\x1f\x8b")
        with pytest.raises(UsageError, match=rf"SOURCE: .*{name} is compressed; unpack it"):
            translate_folder(negative, tmp_path / name, tmp_path / "out")
