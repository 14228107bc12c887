"""Every mode, depth and format through the network that changes nothing: what comes out is what went in.

The pictures are written by Pillow, OpenCV and tifffile themselves, and compared by what these read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from torch import Tensor

from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.job.naming import Naming
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from tests.support.pictures import random_pixels
from tests.translation.examples import Plain, files, fp32

HEIGHT, WIDTH = 9, 13
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS_8, LOSSLESS_16, FRACTIONS, LOSSY = 0, 1, 1e-4, 12  # how far a number may be off, in levels or of its range


class Identity(Plain):
    """With as many channels as are asked for."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x


def _translator(channels: int) -> Translator:
    return fp32(Identity(channels))


def _numbers(channels: int, dtype: str) -> np.ndarray:
    return random_pixels(HEIGHT, WIDTH, channels, dtype, seed=channels)


def _smooth(channels: int) -> np.ndarray:
    """What a lossy format keeps."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 9 * rows + 5 * columns * (channel + 1) // 2 for channel in range(channels)], 2).astype(
        np.uint8
    )


@dataclass(frozen=True)
class Case:
    """A way to write a picture, to read it, and how equal it has to come back."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], np.ndarray]
    channels: int = 3
    tolerance: float = LOSSLESS_8

    def __str__(self) -> str:
        return self.name


def _pillow(mode: str, suffix: str, tolerance: float = LOSSLESS_8, **options: Any) -> Case:
    bands = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4, "I;16": 1, "I": 1, "F": 1}[mode]

    def write(path: Path) -> None:
        deep = {"I;16": "uint16", "F": "float32"}.get(mode)
        pixels = _numbers(1, deep) if deep else _smooth(bands) if tolerance == LOSSY else _numbers(bands, "uint8")
        if mode == "1":
            image = Image.fromarray(pixels[:, :, 0] > 127)
        elif mode == "I":
            image = Image.fromarray(_numbers(1, "uint16")[:, :, 0].astype(np.int32))
        elif mode == "P":
            image = Image.fromarray(pixels // 64 * 64).quantize(32, method=Image.Quantize.MEDIANCUT)
        else:
            image = Image.fromarray(pixels[:, :, 0] if bands == 1 else pixels, None)
        image.save(path, **options)

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            if image.mode in ("P", "1"):
                return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB")).astype(float)
            shown = image.convert("RGB") if mode in ("P", "1") and image.mode == "L" else image
            return np.array(shown).astype(float)

    return Case(f"{mode}{suffix}{options or ''}", write, read, {1: 1, 2: 1}.get(bands, 3), tolerance)


def _opencv(channels: int, suffix: str) -> Case:
    def read(path: Path) -> np.ndarray:
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint16
        return found.astype(float)

    pixels = _numbers(channels, "uint16")
    return Case(
        f"uint16×{channels}{suffix}",
        lambda path: cv2.imwrite(str(path), pixels),
        read,
        3 if channels > 1 else 1,
        LOSSLESS_16,
    )


def _tiff(channels: int, dtype: str, **options: Any) -> Case:
    pixels = _numbers(channels, dtype)
    tolerance = {"f": FRACTIONS, "u": LOSSLESS_16, "i": LOSSLESS_16}[np.dtype(dtype).kind]
    options = {"photometric": "rgb" if channels in (3, 4) else "minisblack"} | options
    if options.get("planarconfig") == "separate":
        given = np.moveaxis(pixels, 2, 0)
    else:
        given = pixels[:, :, 0] if channels == 1 else pixels

    def read(path: Path) -> np.ndarray:
        found = tifffile.imread(path)
        assert found.dtype == pixels.dtype
        return np.moveaxis(found, 0, 2) if found.ndim == 3 and found.shape[0] == channels else found

    colours = 3 if "extrasamples" in options else channels
    words = " ".join(f"{key}={value}" for key, value in options.items())
    return Case(
        f"tifffile {dtype}×{channels} {words}",
        lambda path: tifffile.imwrite(path, given, **options),
        read,
        colours,
        0 if dtype == "uint8" else tolerance,
    )


def _npy(shape: tuple[int, ...], dtype: str) -> Case:
    pixels = _numbers(shape[2] if len(shape) == 3 else 1, dtype).reshape(shape)

    def read(path: Path) -> np.ndarray:
        found = np.load(path)
        assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
        return found.astype(float)

    tolerance = FRACTIONS if np.dtype(dtype).kind == "f" else LOSSLESS_16
    channels = shape[2] if len(shape) == 3 else 1
    return Case(f"npy {dtype}{shape}", lambda path: np.save(path, pixels), read, channels, tolerance)


CASES = {
    ".png": [
        *(_pillow(mode, ".png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        _pillow("I;16", ".png", LOSSLESS_16),
        *(_opencv(channels, ".png") for channels in (1, 3, 4)),
    ],
    ".jpg": [_pillow("L", ".jpg", LOSSY, quality=95), _pillow("RGB", ".jpg", LOSSY, quality=95)],
    ".webp": [_pillow(mode, ".webp", LOSSY, quality=95) for mode in ("RGB", "RGBA")],
    ".bmp": [_pillow(mode, ".bmp") for mode in ("L", "RGB")],
    ".ppm": [_pillow("RGB", ".ppm"), _opencv(3, ".ppm")],
    ".pgm": [_pillow("L", ".pgm"), _pillow("I", ".pgm", LOSSLESS_16), _opencv(1, ".pgm")],
    ".gif": [_pillow("L", ".gif"), _pillow("P", ".gif", LOSSY)],
    ".tif": [
        *(_pillow(mode, ".tif", compression=how) for mode in ("L", "RGB", "RGBA") for how in ("raw", "tiff_lzw")),
        _pillow("I;16", ".tif", LOSSLESS_16),
        _pillow("F", ".tif", FRACTIONS),
        *(_tiff(channels, dtype) for channels in (1, 3) for dtype in ("uint8", "uint16", "float32")),
        _tiff(1, "int16"),
        _tiff(4, "uint16", extrasamples=["unassalpha"]),
        _tiff(5, "uint8", planarconfig="contig"),
        _tiff(5, "uint16", planarconfig="separate"),
        _tiff(2, "float32", planarconfig="contig"),
        _tiff(3, "uint16", byteorder=">"),
        _tiff(3, "uint16", tile=(16, 16)),
        *(_tiff(3, "uint16", compression=how) for how in ("lzw", "zlib", "zstd")),
        _tiff(1, "float32", compression="zlib", predictor=True),
    ],
    ".npy": [
        *(_npy((HEIGHT, WIDTH), dtype) for dtype in ("uint8", "uint16", "int16", "float32", "float64")),
        _npy((HEIGHT, WIDTH, 3), "uint8"),
        _npy((HEIGHT, WIDTH, 7), "float32"),
    ],
}
ALL = [(case, suffix) for suffix, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("case", "suffix"), ALL, ids=[f"{case}-{suffix}" for case, suffix in ALL])
def test_what_comes_back_is_what_went_in(tmp_path: Path, case: Case, suffix: str) -> None:
    name = f"sub folder/a{suffix}"
    (tmp_path / "in/sub folder").mkdir(parents=True)
    case.write(tmp_path / "in" / name)
    summary = translate_folder(_translator(case.channels), tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.failed) == (1, [])
    assert files(tmp_path / "out") == [name]
    before, after = (case.read(tmp_path / place / name) for place in ("in", "out"))
    assert after.shape == before.shape
    # Levels are counted; what lies between them is measured against the range
    assert np.abs(after.astype(float) - before.astype(float)).max() <= case.tolerance
    assert _format(tmp_path / "in" / name) == _format(tmp_path / "out" / name)


def _format(path: Path) -> bytes:
    """The kind of a file by its first bytes."""
    return path.read_bytes()[:2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_exif_and_resolution_stay_and_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    (tmp_path / "in").mkdir()
    pixels = _smooth(3)
    Image.fromarray(pixels).save(tmp_path / f"in/a{suffix}", exif=exif, icc_profile=SRGB, dpi=(300, 300), quality=95)
    translate_folder(_translator(3), tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / f"out/a{suffix}") as made:
        assert made.size == (HEIGHT, WIDTH)
        kept = made.getexif()
        assert kept[0x010F] == "maker"
        assert kept.get(0x0112, 1) == 1
        profile = ImageCms.ImageCmsProfile(io.BytesIO(made.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        if suffix != ".webp":  # which has no place for it
            assert [round(value) for value in made.info["dpi"]] == [300, 300]
        turned = np.rot90(pixels, -1).astype(int)
        assert np.abs(np.array(made.convert("RGB")) - turned).max() <= (
            LOSSLESS_8 if suffix in (".png", ".tif") else LOSSY
        )


def test_pages_are_translated_each_and_an_animation_gives_its_first_frame_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pages = [_numbers(3, "uint8"), 255 - _numbers(3, "uint8")]
    tifffile.imwrite(tmp_path / "in/pages.tif", np.stack(pages), photometric="rgb")
    frames = [Image.fromarray(_numbers(1, "uint8")[:, :, 0] // level) for level in (1, 2, 3)]
    frames[0].save(tmp_path / "in/moving.gif", save_all=True, append_images=frames[1:])
    summary = translate_folder(_translator(3), tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.failed) == (2, [])
    assert np.array_equal(tifffile.imread(tmp_path / "out/pages.tif"), np.stack(pages))
    assert list(summary.notes.values()) == [1]
    assert "first" in next(iter(summary.notes))


def test_what_is_hidden_under_transparent_pixels_does_not_reach_the_network(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Looking(Identity):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    translate_folder(
        fp32(Looking(3)), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=None)
    )
    assert (seen[0][0, :, :2] == -1).all()
    assert (seen[0][0, :, 2:] == 1).all()
    assert np.array_equal(np.array(Image.open(tmp_path / "out/a.png"))[:, :, 3], pixels[:, :, 3])


def test_another_format_holds_what_it_can_and_says_what_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/many.npy", _numbers(5, "uint8"))
    tifffile.imwrite(tmp_path / "in/deep.tif", _numbers(3, "uint16"), photometric="rgb")
    summary = translate_folder(_translator(5), tmp_path / "in", tmp_path / "out", naming=Naming(".png"))
    assert [name for name, _ in summary.failed] == ["deep.tif", "many.npy"]
    assert summary.failed[0][1] == "it has 3 channels and the model takes 5"
    assert summary.failed[1][1].startswith("cannot write it (")
