"""Pictures scaled before they are translated: of any depth, and nothing hidden comes to light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cyclegan.images import Picture, read_image
from cyclegan.translation import translate_folder
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.resizing import resized
from cyclegan.translation.runners import TranslationSettings
from tests.translation.examples import Negative, fp32, picture


@pytest.mark.parametrize(
    ("size", "wanted", "made"),
    [((30, 60), 15, (15, 30)), ((60, 31), 62, (120, 62)), ((7, 7), 7, (7, 7)), ((1, 900), 3, (3, 2700))],
)
def test_the_shorter_side_gets_the_length_and_the_other_follows(
    size: tuple[int, int], wanted: int, made: tuple[int, int]
) -> None:
    page = Picture(np.zeros((4, 4, 1), np.uint8))
    result = resized(Picture(np.zeros((*size, 3), np.uint8), pages=(page,)), wanted)
    assert result.pixels.shape == (*made, 3)
    assert result.pages[0].pixels.shape == (wanted, wanted, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_numbers_of_every_type_keep_it_their_mean_and_their_range(dtype: str, channels: int) -> None:
    low, high = (0.0, 1.0) if dtype.startswith("f") else (0.0, np.iinfo(dtype).max)
    rows, columns, _ = np.mgrid[:64, :64, :channels]
    pixels = (low + (high - low) * (rows + columns) / 126).astype(dtype)
    result = resized(Picture(pixels), 16).pixels
    assert (result.dtype, result.shape) == (pixels.dtype, (16, 16, channels))
    assert result.min() >= pixels.min()
    assert result.max() <= pixels.max()
    # 64 to 16 averages four rows and columns: a slope stays one, but for the edges
    expected = pixels.astype(float).reshape(16, 4, 16, 4, channels).mean((1, 3))
    assert np.abs(result - expected)[2:-2, 2:-2].max() <= 0.01 * (high - low)


def test_colours_under_transparent_pixels_do_not_show_at_their_edges() -> None:
    pixels = np.full((40, 40, 3), 200, np.uint8)
    pixels[:, 18:] = 0  # hidden
    alpha = np.full((40, 40), 255, np.uint8)
    alpha[:, 18:] = 0
    result = resized(Picture(pixels, alpha), 11)
    assert result.alpha is not None
    assert (result.alpha[:, 0] == 255).all()
    assert (result.alpha[:, -1] == 0).all()
    assert ((result.alpha > 10) & (result.alpha < 245)).any()
    assert (np.abs(result.pixels[result.alpha > 10].astype(int) - 200) <= 1).all()


def test_numbers_that_are_none_do_not_spread_over_the_whole() -> None:
    pixels = np.full((40, 40, 1), 0.5, np.float32)
    pixels[0, 0] = np.nan
    result = resized(Picture(pixels), 10).pixels
    assert np.isfinite(result[5:, 5:]).all()
    assert np.allclose(result[5:, 5:], 0.5)


def test_a_folder_is_translated_at_the_size(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.jpg", (400, 200))
    picture(tmp_path / "in/b.png", (10, 30))
    settings = TranslationSettings(PictureIO(size=20))
    translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=settings)
    assert read_image(tmp_path / "out/a.jpg").shape == (40, 20, 3)
    assert read_image(tmp_path / "out/b.png").shape == (20, 60, 3)
