import os
import sys
from pathlib import Path

import pytest

from cyclegan.errors import CycleganError
from cyclegan.images import UnreadableImage, list_images, read_image


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pictures_are_listed_recursively_in_any_letter_case_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "sub/deep/c.Jpeg", "Z.webp", "notes.txt", "jpg", "sub/d.tiff.bak")
    assert list_images(tmp_path) == ["Z.webp", "a.jpg", "b.PNG", "sub/deep/c.Jpeg"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "seen.png", ".hidden.png", ".cache/thumb.png", "sub/._resource.jpg")
    assert list_images(tmp_path) == ["seen.png"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "root/one.png", "elsewhere/two.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/circle").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    assert list_images(tmp_path / "root") == ["linked/two.png", "one.png"]


def test_a_link_to_nowhere_is_listed_and_explained_when_read(tmp_path: Path) -> None:
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    (tmp_path / "folder").symlink_to(tmp_path / "gone")
    assert list_images(tmp_path) == ["broken.png", "itself.png"]
    with pytest.raises(UnreadableImage, match="no such file"):
        read_image(tmp_path / "broken.png")
    with pytest.raises(UnreadableImage, match="symbolic links"):
        read_image(tmp_path / "itself.png")


def test_pipes_are_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for a writer for ever
    touch(tmp_path, "file.png")
    assert list_images(tmp_path) == ["file.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse names that are no text")
def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"new\nline.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
    names = list_images(tmp_path)
    assert names == ["caf\udce9.png", "new\nline.png"]
    assert all((tmp_path / name).exists() for name in names)


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_left_out(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "sub/one.png")
    scan = os.scandir

    def guarded(path: str):
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(CycleganError, match=r"cannot list .*sub: permission denied"):
        list_images(tmp_path)
