"""Archives in and out: members in their order, samples together, other members untouched, and no name out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import read_image
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.job.naming import Naming, Shard
from tests.support.pictures import random_pixels
from tests.translation.examples import files


def _png(seed: int) -> tuple[bytes, np.ndarray]:
    pixels = random_pixels(5, 4, seed=seed)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue(), pixels


def _pack(path: Path, members: list[tuple[str, bytes]], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_600_000_000, 0o640
            tar.addfile(info, io.BytesIO(data))
    return path


def _content(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path, "r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar if info.isreg()]  # type: ignore[union-attr]


def _pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


LONG = "folder/" + "long" * 60 + ".png"
SHARD = ["000.png", "000.json", "000.cls", "./001.png", "001.json", LONG, "\udcff.png", "._000.png", "last.txt"]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    data = {name: _png(number)[0] for number, name in enumerate(SHARD) if name.endswith("png") and "._" not in name}
    return _pack(tmp_path / "in.tar", [(name, data.get(name, f"label {name!a}".encode())) for name in SHARD])


def test_an_archive_becomes_one_with_the_same_members_in_the_same_order(
    tmp_path: Path, negative: Translator, shard: Path
) -> None:
    summary = translate_folder(negative, shard, tmp_path / "out/new.tar")
    assert (summary.translated, summary.failed) == (4, [])
    before, after = _content(shard), _content(tmp_path / "out/new.tar")
    assert [name for name, _ in after] == SHARD
    for (name, old), (_, new) in zip(before, after, strict=True):
        if name.endswith(".png") and "._" not in name:
            assert np.array_equal(_pixels(new), 255 - _pixels(old))
        else:
            assert new == old
    with tarfile.open(tmp_path / "out/new.tar") as tar:
        assert {(info.mtime, info.mode) for info in tar} == {(1_600_000_000, 0o640)}
    assert files(tmp_path / "out") == ["new.tar"]
    assert not (tmp_path / "out/.cyclegan/new.tar/members").exists()


def test_the_format_changes_in_an_archive_and_the_key_does_not(
    tmp_path: Path, negative: Translator, shard: Path
) -> None:
    translate_folder(negative, shard, tmp_path / "new.tar", naming=Naming(".bmp"))
    names = [name for name, _ in _content(tmp_path / "new.tar")]
    assert names == [name if "._" in name else name.replace(".png", ".bmp") for name in SHARD]
    with pytest.raises(UsageError, match="--suffix: would part the pictures"):
        translate_folder(negative, shard, tmp_path / "other.tar", naming=Naming(suffix="x"))


def test_an_archive_that_is_there_is_done_and_what_failed_is_added_later(tmp_path: Path, negative: Translator) -> None:
    good, (late, pixels) = _png(0)[0], _png(1)
    members = [("a.png", good), ("b.png", b"no picture"), ("b.cls", b"1")]
    _pack(tmp_path / "in.tar", members)
    summary = translate_folder(negative, tmp_path / "in.tar", tmp_path / "out.tar")
    assert [name for name, _ in summary.failed] == ["b.png"]
    assert [name for name, _ in _content(tmp_path / "out.tar")] == ["a.png", "b.cls"]
    first = (tmp_path / "out.tar").read_bytes()
    again = translate_folder(negative, tmp_path / "in.tar", tmp_path / "out.tar")
    assert (again.translated, again.skipped, again.known) == (0, 1, 1)
    assert (tmp_path / "out.tar").read_bytes() == first
    _pack(tmp_path / "in.tar", [members[0], ("b.png", late), members[2]])
    last = translate_folder(negative, tmp_path / "in.tar", tmp_path / "out.tar")
    assert (last.translated, last.skipped, last.failed) == (1, 1, [])
    content = _content(tmp_path / "out.tar")
    assert [name for name, _ in content] == ["a.png", "b.png", "b.cls"]
    assert np.array_equal(_pixels(content[1][1]), 255 - pixels)


def test_an_archive_goes_into_a_folder_too(tmp_path: Path, negative: Translator, shard: Path) -> None:
    translate_folder(negative, shard, tmp_path / "out")
    assert files(tmp_path / "out") == sorted(["000.png", "001.png", LONG, "\udcff.png"])
    assert np.array_equal(read_image(tmp_path / "out/000.png"), 255 - _png(0)[1])


def test_members_whose_names_lead_out_are_failures(tmp_path: Path, negative: Translator) -> None:
    data = _png(0)[0]
    path = _pack(tmp_path / "in.tar", [("../evil.png", data), ("/evil.png", data), ("x/../../evil.png", data)])
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        good = tarfile.TarInfo("good.png")
        good.size = len(data)
        tar.addfile(good, io.BytesIO(data))
    for dest in ("out", "out.tar"):
        summary = translate_folder(negative, path, tmp_path / dest)
        assert [name for name, _ in summary.failed] == ["../evil.png", "/evil.png", "link.png", "x/../../evil.png"]
        assert summary.translated == 1
    assert files(tmp_path / "out") == ["good.png"]
    assert [name for name, _ in _content(tmp_path / "out.tar")] == ["good.png"]
    assert sorted(os.listdir(tmp_path)) == [".cyclegan", "in.tar", "out", "out.tar"]


@pytest.mark.parametrize("behind", [None, 100, 515])
def test_an_archive_that_is_cut_off_or_none_is_an_error(
    tmp_path: Path, negative: Translator, shard: Path, behind: int | None
) -> None:
    data = shard.read_bytes()
    last = data.index(b"last.txt")  # where the last header begins: cut off within it, or within the content behind
    shard.write_bytes(b"this is no archive" * 100 if behind is None else data[: last + behind])
    with pytest.raises(CycleganError, match=r"no plain \.tar, or damaged"):
        translate_folder(negative, shard, tmp_path / "out")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path, negative: Translator) -> None:
    path = _pack(tmp_path / "in.tar", [("a.png", _png(0)[0]), ("b.png", _png(1)[0])])
    data = bytearray(path.read_bytes())
    at = data.index(b"b.png")
    data[at : at + 100] = b"\xaa" * 100
    path.write_bytes(data)
    with pytest.raises(CycleganError, match="damaged"):
        translate_folder(negative, path, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "dest", "options", "sentence"),
    [
        ("in", "out.tar", {}, "only an archive becomes an archive"),
        ("in.tar", "in.tar", {}, "is SOURCE itself"),
        ("in.tar", "out.tar", {"shard": Shard(1, 2)}, "--shard: splits only jobs that write to a folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, negative: Translator, shard: Path, source: str, dest: str, options: dict, sentence: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(_png(0)[0])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match=sentence):
        translate_folder(negative, tmp_path / source, tmp_path / dest, **options)
    assert sorted(os.listdir(tmp_path)) == before
