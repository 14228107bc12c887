import os
from pathlib import Path

import numpy as np
import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import EXTENSIONS, decode_picture, encode_image, read_image, write_image
from tests.support.pictures import random_pixels

GREY = np.kron(np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4), np.ones((8, 8), np.uint8))
PICTURE = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


@pytest.mark.parametrize("suffix", EXTENSIONS)
def test_what_is_written_reads_back_in_the_format_of_its_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / f"picture{suffix.upper()}"
    write_image(path, PICTURE)
    stored = np.repeat(np.rint(PICTURE @ [[0.299], [0.587], [0.114]]), 3, 2) if suffix == ".pgm" else PICTURE
    difference = np.abs(read_image(path).astype(int) - stored)
    if suffix == ".webp":
        difference = difference[4::8, 4::8]  # it halves the resolution of colour, which blurs the edges of the blocks
    assert difference.max() <= (12 if suffix in (".jpg", ".jpeg", ".jfif", ".webp", ".avif") else 0)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_one_channel_is_written_as_grey(suffix: str) -> None:
    for array in (GREY, GREY[..., None]):
        decoded = decode_picture(encode_image(array, suffix), "grey")
        assert decoded.details.mode == "L"
        assert np.array_equal(decoded.pixels[..., 0], GREY)


def test_quality_decides_the_size_of_a_jpeg() -> None:
    noise = random_pixels(64, 64)
    assert len(encode_image(noise, ".jpg", quality=40)) < len(encode_image(noise, ".jpg"))


def test_a_higher_level_makes_a_smaller_png_of_the_same_picture() -> None:
    sizes = []
    for level in (0, 1, 9):
        data = encode_image(PICTURE, ".png", png_level=level)
        assert np.array_equal(decode_picture(data, "picture").pixels, PICTURE)
        sizes.append(len(data))
    assert sizes[0] > PICTURE.nbytes > sizes[1] > sizes[2]
    assert len(encode_image(PICTURE, ".png")) == sizes[1]  # unless it is asked for otherwise, the quick one
    assert encode_image(PICTURE, ".jpg", png_level=0) == encode_image(PICTURE, ".jpg")


def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    for name in ("picture.xyz", "picture"):
        with pytest.raises(UsageError, match=r"cannot write .*picture.*use one of .*\.png"):
            write_image(tmp_path / name, PICTURE)
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_its_format_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CycleganError, match="WEBP cannot hold 20000×1 pixels"):
        write_image(tmp_path / "long.webp", np.zeros((1, 20000, 3), np.uint8))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    write_image(path, PICTURE)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_image(path, 255 - PICTURE)
    assert np.array_equal(read_image(path), PICTURE)
    assert len(list(tmp_path.iterdir())) == 1


def test_anything_but_bytes_is_a_programmers_mistake() -> None:
    with pytest.raises(AssertionError, match="float64"):
        encode_image(PICTURE / 255, ".png")
    with pytest.raises(AssertionError, match="1 or 3"):
        encode_image(np.zeros((2, 2, 2), np.uint8), ".png")
    with pytest.raises(AssertionError, match="0 to 9, not 10"):
        encode_image(PICTURE, ".png", png_level=10)
