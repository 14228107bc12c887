from pathlib import Path

import numpy as np
import pytest

from cyclegan.images import ArrayRegions, UnreadableImage, decode_picture, open_regions, regions
from tests.images.kinds import A16, HEIGHT, KINDS, RGB, RGB16, WIDTH, Kind, cv, tif

PARTS = [
    (0, 0, HEIGHT, WIDTH),
    (3, 5, 11, 17),
    (HEIGHT - 1, WIDTH - 1, 1, 1),
    (0, WIDTH - 7, HEIGHT, 7),
    (9, 0, 2, WIDTH),
]
IN_PARTS = [kind for kind in KINDS if kind.suffix in (".tif", ".npy")]
BY_VIPS = [kind for kind in KINDS if kind.suffix in (".png", ".ppm", ".pgm", ".jpg", ".webp", ".apng")]


@pytest.fixture
def _nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "SMALL", 0)


@pytest.mark.usefixtures("_nothing_is_small")
@pytest.mark.parametrize("kind", [*IN_PARTS, *BY_VIPS], ids=repr)
def test_parts_are_those_of_the_whole(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / f"picture{kind.suffix}"
    path.write_bytes(kind.data)
    whole = decode_picture(kind.data, "whole")
    with open_regions(path) as parts:
        assert (parts.header.height, parts.header.width, parts.header.channels) == whole.pixels.shape
        assert parts.header.dtype == whole.pixels.dtype
        assert parts.details.container == whole.details.container
        assert (parts.details.tagged, parts.details.exif) == (whole.details.tagged, whole.details.exif)
        for top, left, height, width in PARTS:
            pixels, alpha = parts.read(top, left, height, width)
            part = np.s_[top : top + height, left : left + width]
            assert pixels.dtype == whole.pixels.dtype
            # Another library, or another build of it, may round a JPEG otherwise
            tolerance = 0 if kind.exact else 3
            assert np.abs(pixels.astype(float) - whole.pixels[part].astype(float)).max() <= tolerance
            assert (alpha is None) == (whole.alpha is None)
            if alpha is not None:
                assert np.array_equal(alpha, whole.alpha[part])


@pytest.mark.usefixtures("_nothing_is_small")
@pytest.mark.parametrize(
    "name", ["tiff-16-RGB", "tiff-8-zlib-tiles", "tiff-8-lzw-strips", "npy-uint16-5", "png-16-RGBA"]
)
def test_large_files_are_not_decoded_whole(name: str, tmp_path: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    (tmp_path / "picture").write_bytes(kind.data)
    with open_regions(tmp_path / "picture") as parts:
        assert not isinstance(parts, ArrayRegions)


def test_small_files_are_decoded_once(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(cv(RGB, ".png"))
    with open_regions(tmp_path / "picture") as parts:
        assert isinstance(parts, ArrayRegions)
        assert np.array_equal(parts.read(1, 2, 3, 4)[0], RGB[1:4, 2:6])


@pytest.mark.usefixtures("_nothing_is_small")
def test_a_turned_picture_is_decoded_whole_and_upright(tmp_path: Path) -> None:
    turned = [(274, "H", 1, 6, True)]
    (tmp_path / "picture.tif").write_bytes(tif(RGB16, photometric="rgb", tile=(16, 16), extratags=turned))
    with open_regions(tmp_path / "picture.tif") as parts:
        assert (parts.header.height, parts.header.width) == (WIDTH, HEIGHT)
        assert np.array_equal(parts.read(0, 0, WIDTH, HEIGHT)[0], np.rot90(RGB16, -1))


@pytest.mark.usefixtures("_nothing_is_small")
def test_damage_in_a_tile_is_a_reason_where_it_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64, 3), dtype=np.uint16)
    data = bytearray(tif(noise, photometric="rgb", tile=(32, 32), compression="zlib"))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    (tmp_path / "picture.tif").write_bytes(data)
    with pytest.raises(UnreadableImage, match=r"picture\.tif"), open_regions(tmp_path / "picture.tif") as parts:
        parts.read(0, 0, 64, 64)


@pytest.mark.usefixtures("_nothing_is_small")
def test_the_tiles_that_are_kept_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.images.formats.tiff import regions as tiff_regions

    monkeypatch.setattr(tiff_regions, "KEPT", 3 * 16 * 16 * 3)
    (tmp_path / "picture.tif").write_bytes(tif(RGB, photometric="rgb", tile=(16, 16), compression="zlib"))
    made: list[tiff_regions._Segments] = []
    start = tiff_regions._Segments.__init__
    monkeypatch.setattr(
        tiff_regions._Segments, "__init__", lambda self, page: (start(self, page), made.append(self))[0]
    )
    with open_regions(tmp_path / "picture.tif") as parts:
        for _ in range(2):
            assert np.array_equal(parts.read(0, 0, HEIGHT, WIDTH)[0], RGB)
        assert 0 < sum(segment.nbytes for segment in made[0].kept.values()) == made[0].size <= 3 * 16 * 16 * 3


def test_more_pixels_than_allowed_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "picture.tif").write_bytes(tif(np.dstack([RGB16, A16]), photometric="rgb", extrasamples=["unassalpha"]))
    with pytest.raises(UnreadableImage, match=r"40×24 pixels are more than 959 pixels; allow more by --max-pixels"):
        open_regions(tmp_path / "picture.tif", max_pixels=959)
    with open_regions(tmp_path / "picture.tif", max_pixels=960) as parts:
        assert np.array_equal(parts.read(0, 0, HEIGHT, WIDTH)[1], A16)
