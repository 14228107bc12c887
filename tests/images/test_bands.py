import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cyclegan.errors import CycleganError
from cyclegan.images import (
    ImageMetadata,
    MissingExtra,
    bands,
    decode_picture,
    encode_picture,
    open_writer,
    read_picture,
)
from tests.images.kinds import HEIGHT, KINDS, RGB, RGB16, WIDTH, Kind, blocks

HELD = (".png", ".tif", ".npy", ".ppm", ".jpg", ".webp", ".jp2", ".bmp", ".avif")
BANDED = [kind for kind in KINDS if kind.suffix in HELD]


def banded(path: Path, kind: Kind, suffix: str, heights: list[int]) -> None:
    picture = decode_picture(kind.data, "source")
    alpha = picture.alpha
    start = 0
    with open_writer(
        path, suffix, HEIGHT, WIDTH, picture.channels, picture.pixels.dtype, alpha is not None, picture.details
    ) as writer:
        for height in heights:
            rows = slice(start, start + height)
            writer.write(picture.pixels[rows], None if alpha is None else alpha[rows])
            start += height


@pytest.mark.parametrize("kind", BANDED, ids=repr)
def test_a_picture_written_in_bands_is_the_one_written_whole(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "unfinished"
    banded(path, kind, kind.suffix, [7, 1, 10, 6])
    whole, made = (
        decode_picture(encode_picture(decode_picture(kind.data, "source"), kind.suffix), "whole"),
        read_picture(path),
    )
    assert made.pixels.dtype == whole.pixels.dtype
    tolerance = 0 if kind.exact and kind.suffix != ".webp" else 8  # other encoders
    seen = np.s_[4::8, 4::8]
    shown = slice(None) if whole.alpha is None else whole.alpha[seen] > 0
    difference = np.abs(made.pixels.astype(float) - whole.pixels.astype(float))[seen][shown]
    assert difference.max() <= tolerance
    if tolerance == 0:
        assert np.array_equal(made.pixels, whole.pixels)
    assert (made.alpha is None) == (whole.alpha is None)
    if whole.alpha is not None:
        assert np.array_equal(made.alpha, whole.alpha)
    if whole.details.container.get("planar") != 2 and not whole.details.container.get("fortran"):
        assert made.details == whole.details
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("array", [RGB, RGB16], ids=["8", "16"])
def test_exif_xmp_resolution_and_profile_stand_in_a_file_written_in_bands(array: np.ndarray, tmp_path: Path) -> None:
    from tests.images.formats.test_metadata import DETAILS

    for suffix in (".png", ".tif", ".jpg", ".webp"):
        details = replace(DETAILS, container={})
        path = tmp_path / f"made{suffix}"
        with open_writer(path, suffix, HEIGHT, WIDTH, 3, array.dtype, False, details) as writer:
            writer.write(array)
        made = read_picture(path).details
        assert made.tagged, suffix
        assert b"a description" in made.exif, suffix
        assert made.xmp == details.xmp, suffix
        if suffix != ".webp":
            assert made.dpi == pytest.approx(details.dpi, rel=1e-2), suffix


def left_by_an_error(path: Path, suffix: str) -> None:
    with open_writer(path, suffix, 100, 8, 3, np.dtype(np.uint8), False, ImageMetadata()) as writer:
        writer.write(np.zeros((60, 8, 3), np.uint8))
        raise KeyError


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".jpg", ".bmp"])
def test_an_error_between_bands_leaves_nothing_but_the_file_and_no_thread(suffix: str, tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(KeyError):
        left_by_an_error(tmp_path / "unfinished", suffix)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"unfinished"}
    assert threading.active_count() == threads


def test_rows_that_are_missing_or_too_many_are_a_programmers_mistake(tmp_path: Path) -> None:
    for rows in (9, 11):
        with (
            pytest.raises(AssertionError, match="rows"),
            open_writer(tmp_path / "made", ".png", 10, 8, 3, np.dtype(np.uint8), False, ImageMetadata()) as writer,
        ):
            writer.write(np.zeros((rows, 8, 3), np.uint8))


def test_what_a_format_cannot_hold_is_said_before_anything_is_written(tmp_path: Path) -> None:
    cases = [(".png", 5, "uint8"), (".jpg", 3, "float32"), (".ppm", 4, "uint16"), (".tif", 1, "bool")]
    for suffix, channels, dtype in cases:
        with pytest.raises(CycleganError, match=r"\.npy"):
            open_writer(tmp_path / "made", suffix, 8, 8, channels, np.dtype(dtype), False, ImageMetadata())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_and_not_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cyclegan.images.formats.tiff.bands as tiff_bands

    def full(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiff_bands.TiffBands, "_tiles", full)
    with pytest.raises(OSError, match="No space"):
        in_forty_bands(tmp_path / "made")


def in_forty_bands(path: Path) -> None:
    details = ImageMetadata("TIFF", container={"tile": (16, 16)})
    with open_writer(path, ".tif", 640, 8, 3, np.dtype(np.uint8), False, details) as writer:
        for _ in range(40):
            writer.write(np.zeros((16, 8, 3), np.uint8))


def rows(path: Path, suffix: str, array: np.ndarray, png_level: int = 1) -> None:
    height, width, channels = array.shape
    details = ImageMetadata()
    with open_writer(path, suffix, height, width, channels, array.dtype, False, details, png_level=png_level) as writer:
        writer.write(array)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_without_pyvips_the_whole_is_made_in_memory(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "installed", lambda module: False)
    array = blocks("uint8", 3, 12)
    rows(tmp_path / "made", suffix, array)
    assert np.abs(read_picture(tmp_path / "made").pixels.astype(int) - array).max() < 16
    monkeypatch.setattr(bands, "DEFAULT_MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(
        MissingExtra, match=rf'of {WIDTH}×{HEIGHT} pixels needs pyvips; pip install "cyclegan\[large\]"'
    ):
        rows(tmp_path / "refused", suffix, array)
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_the_level_decides_the_size_of_a_png_written_in_bands(tmp_path: Path) -> None:
    sizes = []
    for level in (0, 1, 9):
        rows(tmp_path / "made", ".png", RGB, level)
        assert np.array_equal(read_picture(tmp_path / "made").pixels, RGB)
        sizes.append((tmp_path / "made").stat().st_size)
    assert sizes[0] > RGB.nbytes > sizes[1] >= sizes[2]


def test_a_picture_too_wide_for_jpeg_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CycleganError, match=r"^70000×1 pixels were not written as JPEG \(.*65500 pixels\)$"):
        rows(tmp_path / "made", ".jpg", np.zeros((1, 70000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells which files are open")
def test_no_deleted_file_stays_open_and_takes_room(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg"):
        rows(tmp_path / f"made{suffix}", suffix, RGB)
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]
