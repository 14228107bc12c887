"""Pictures that go through alone: in tiles from their file or from memory, and page by page."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cyclegan.images import UnreadableImage, read_picture
from cyclegan.translation import translate_folder
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.tiling import single
from tests.support.pictures import random_pixels
from tests.translation.examples import Negative, Small, file_size_limit, files, fp32, picture, record

TILE = 128


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tile sizes of pictures that went through in tiles."""
    seen: list[int] = []
    translate = single.translate_regions

    def watched(*arguments: object, tile: int, **options: object) -> None:
        seen.append(tile)
        translate(*arguments, tile=tile, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(single, "translate_regions", watched)
    return seen


def _negative(path: Path) -> np.ndarray:
    found = read_picture(path)
    high = 1 if found.pixels.dtype.kind == "f" else np.iinfo(found.pixels.dtype).max
    return high - found.pixels


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".jpg"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_picture_in_tiles_comes_out_whole_in_its_format_among_others(
    tmp_path: Path, tiled: list[int], suffix: str, dtype: str
) -> None:
    if suffix == ".jpg" and dtype == "uint16":
        pytest.skip("JPEG has 8 bits")
    pixels = np.linspace(0, np.iinfo(dtype).max, 300 * 200 * 3).reshape(300, 200, 3).astype(dtype)
    (tmp_path / "in").mkdir()
    large = tmp_path / f"in/large{suffix}"
    if suffix == ".npy":
        np.save(large, pixels)
    elif dtype == "uint16":
        import cv2

        cv2.imwrite(str(large), pixels)
    else:
        Image.fromarray(pixels).save(large)
    for number in range(5):
        picture(tmp_path / f"in/{number}.png", seed=number)
    summary = translate_folder(
        fp32(Negative()),
        tmp_path / "in",
        tmp_path / "out",
        settings=TranslationSettings(PictureIO(), tile=TILE, batch_size=2),
    )
    assert (summary.translated, summary.failed) == (6, [])
    assert tiled == [TILE]
    made = read_picture(tmp_path / f"out/large{suffix}").pixels
    assert made.dtype == dtype
    difference = np.abs(made.astype(int) - _negative(large).astype(int)).max()
    assert difference <= (6 if suffix == ".jpg" else 1)
    assert not [name for name in record(tmp_path / "out") if name.startswith("tmp")]


def test_transparency_goes_along_with_the_tiles(tmp_path: Path, tiled: list[int]) -> None:
    pixels = random_pixels(200, 150, 4)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    translate_folder(
        fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=TILE)
    )
    made = np.array(Image.open(tmp_path / "out/a.png"))
    assert np.array_equal(made[:, :, 3], pixels[:, :, 3])
    visible = pixels[:, :, 3] > 0
    assert np.array_equal(made[visible][:, :3], 255 - pixels[visible][:, :3])
    assert tiled == [TILE]


def test_pages_and_members_of_archives_go_in_tiles_too(tmp_path: Path, tiled: list[int]) -> None:
    pages = np.random.default_rng(0).integers(0, 256, (2, 200, 150, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/pages.tif", pages, photometric="rgb")
    translate_folder(
        fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=TILE)
    )
    assert np.array_equal(tifffile.imread(tmp_path / "out/pages.tif"), 255 - pages)
    assert tiled == [TILE, TILE]
    stream = io.BytesIO()
    Image.fromarray(pages[0]).save(stream, "PNG")
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = len(stream.getvalue())
        tar.addfile(info, io.BytesIO(stream.getvalue()))
    translate_folder(
        fp32(Negative()), tmp_path / "in.tar", tmp_path / "packed", settings=TranslationSettings(PictureIO(), tile=TILE)
    )
    assert np.array_equal(read_picture(tmp_path / "packed/a.png").pixels, 255 - pages[0])
    assert tiled == [TILE] * 3


@pytest.mark.slow
def test_what_does_not_fit_after_all_goes_in_tiles_unless_they_are_off(tmp_path: Path, tiled: list[int]) -> None:
    # In company and alone it is more than fits; in tiles of 256 it does
    for number in range(3):
        picture(tmp_path / f"in/{number}.png", (300, 300), number)
    network = Small(3 * 260 * 260, torch.OutOfMemoryError("CUDA out of memory"))
    summary = translate_folder(
        fp32(network),
        tmp_path / "in",
        tmp_path / "out",
        settings=TranslationSettings(PictureIO(), max_memory=2**40, batch_size=2),
    )
    assert (summary.translated, summary.failed) == (3, [])
    assert np.array_equal(read_picture(tmp_path / "out/1.png").pixels, _negative(tmp_path / "in/1.png"))
    assert len(tiled) == 3
    summary = translate_folder(
        fp32(network), tmp_path / "in", tmp_path / "off", settings=TranslationSettings(PictureIO(), tile=None)
    )
    assert (summary.translated, len(summary.failed)) == (0, 3)
    assert "more than fit in the memory" in summary.failed[0][1]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _five_channels(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.zeros((300, 200, 5), np.uint8))
    path.unlink()


@pytest.mark.parametrize("spoil", [_cut, _five_channels])
def test_what_goes_wrong_in_tiles_is_a_failure_of_that_picture_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    picture(tmp_path / "in/bad.png", (300, 200))
    spoil(tmp_path / "in/bad.png")
    picture(tmp_path / "in/good.png", (300, 200))
    summary = translate_folder(
        fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=TILE)
    )
    assert summary.translated == 1
    assert [name.split(".")[0] for name, _ in summary.failed] == ["bad"]
    assert files(tmp_path / "out") == ["good.png"]


def test_a_full_disk_in_the_middle_of_tiles_is_a_failure(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png", (300, 200))
    with file_size_limit(50_000):
        summary = translate_folder(
            fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=TILE)
        )
    assert summary.failed == [("a.png", "cannot write it (file too large)")]
    assert files(tmp_path / "out") == []


def test_a_file_that_is_damaged_where_it_is_read_late_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in/a.png", (300, 200))
    opened = single.open_regions

    def late(path: str, **options: int | None) -> object:
        regions = opened(path, **options)
        read = regions.read

        def reading(top: int, *rest: int) -> object:
            if top > 100:
                raise UnreadableImage(path, "it is torn")
            return read(top, *rest)

        monkeypatch.setattr(regions, "read", reading)
        return regions

    monkeypatch.setattr(single, "open_regions", late)
    summary = translate_folder(
        fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=TILE)
    )
    assert summary.failed == [("a.png", "it is torn")]
    assert files(tmp_path / "out") == []


def test_the_memory_is_not_measured_for_each_of_many_small_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        picture(tmp_path / f"in/{number}.png", seed=number)
    asked: list[int] = []
    monkeypatch.setattr("cyclegan.translation.tiling.policy.available_memory", lambda: asked.append(1) or 2**40)
    assert translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out").translated == 60
    assert 1 <= len(asked) <= 16  # by each reading thread that came before the first answer
