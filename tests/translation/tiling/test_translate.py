"""Pictures in tiles against the same pictures as a whole."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.images import ArrayRegions, Header, Picture, parse_range
from cyclegan.networks import build_generator
from cyclegan.translation import Translator
from cyclegan.translation.tiling.axis import Axis
from cyclegan.translation.tiling.policy import Tiling, network_bytes, tile_bytes, whole_bytes
from cyclegan.translation.tiling.translate import translate_regions
from cyclegan.translation.value_scale import ValueScale
from tests.support.pictures import random_pixels
from tests.translation.examples import Plain


class Negative(Plain):
    """A generator whose result is known; keeps the sizes it was given, and fits so many pixels."""

    multiple, smallest = 4, 4
    seen: ClassVar[list[tuple[int, int]]] = []  # by all of them: tiles go through a copy of the network

    def __init__(self, channels: int = 3, fits: int = 10**9) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.fits = fits

    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() > self.fits:
            raise MemoryError("out of memory")
        self.seen.append((x.shape[2], x.shape[3]))
        return -x


def tiled(
    translator: Translator, picture: Picture, tile: int, overlap: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and transparency as they were written."""
    bands: list[tuple[np.ndarray, np.ndarray | None]] = []

    def write(pixels: np.ndarray, alpha: np.ndarray | None) -> None:
        assert pixels.shape[1] == picture.width
        bands.append((pixels.copy(), None if alpha is None else alpha.copy()))

    translate_regions(translator, ArrayRegions(picture), write, tile=tile, overlap=overlap)
    alphas = [alpha for _, alpha in bands if alpha is not None]
    return np.concatenate([pixels for pixels, _ in bands]), np.concatenate(alphas) if alphas else None


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 301), (301, 1), (17, 5), (64, 64), (129, 67), (200, 259), (65, 128)]
)
@pytest.mark.parametrize("overlap", [None, 0, 12])
def test_a_network_without_surroundings_gives_the_whole_whatever_the_size(
    height: int, width: int, overlap: int | None
) -> None:
    picture = Picture(random_pixels(height, width))
    translator = Translator(Negative(), device="cpu")
    pixels, alpha = tiled(translator, picture, 64, overlap)
    np.testing.assert_array_equal(pixels, 255 - picture.pixels)
    assert alpha is None


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.uint16, 3), (np.uint16, 1), (np.int16, 2)])
def test_every_depth_and_number_of_channels_comes_back_as_it_is(dtype: type, channels: int) -> None:
    picture = Picture(random_pixels(90, 70, channels, dtype))
    translator = Translator(Negative(channels), device="cpu")
    pixels, _ = tiled(translator, picture, 32)
    assert pixels.dtype == dtype
    whole = translator(picture).pixels
    assert np.abs(pixels.astype(int) - whole).max() <= 1
    np.testing.assert_allclose(pixels, np.iinfo(dtype).max + np.iinfo(dtype).min - picture.pixels.astype(int), atol=1)


def test_transparency_is_carried_over_and_what_it_hides_is_white_to_the_network() -> None:
    pixels = random_pixels(100, 60)
    alpha = np.zeros((100, 60), np.uint8)
    alpha[30:, 20:] = 200
    made, carried = tiled(Translator(Negative(), device="cpu"), Picture(pixels, alpha), 32)
    np.testing.assert_array_equal(carried, alpha)
    np.testing.assert_array_equal(made, np.where(alpha[:, :, None] == 0, 0, 255 - pixels))


@pytest.mark.parametrize("rule", ["minmax", "percentile:2,98", "100,4000"])
def test_a_range_that_is_measured_is_that_of_the_whole_picture(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture((random_pixels(120, 50, 1, np.uint16) // 16 + np.arange(120)[:, None, None]).astype(np.uint16))
    monkeypatch.setattr("cyclegan.translation.tiling.translate.NUMBERS", 500)
    translator = Translator(Negative(1), device="cpu", scales=ValueScale(parse_range(rule)))
    pixels, _ = tiled(translator, picture, 32)
    np.testing.assert_allclose(pixels, translator(picture).pixels, atol=1)


def test_a_picture_of_other_channels_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ValueError, match="it has 4 channels and the model takes 3"):
        tiled(Translator(Negative(), device="cpu"), Picture(random_pixels(90, 90, 4)), 32)


def test_no_tile_is_larger_than_asked_for_and_smaller_ones_are_taken_where_memory_runs_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    picture = Picture(random_pixels(700, 530))
    Negative.seen.clear()
    pixels, _ = tiled(Translator(Negative(fits=128 * 128), device="cpu"), picture, 512)
    np.testing.assert_array_equal(pixels, 255 - picture.pixels)
    assert Negative.seen
    assert all(height * width <= 128 * 128 for height, width in Negative.seen)
    assert "does not fit in memory; going on with 128" in caplog.text


def test_where_no_tile_fits_it_is_said() -> None:
    with pytest.raises(MemoryError, match="not enough memory for a tile of 128×128 pixels"):
        tiled(Translator(Negative(fits=5), device="cpu"), Picture(random_pixels(300, 300)), 256)


def smooth(height: int, width: int) -> Picture:
    """Something like a picture: large shapes and a little noise."""
    small = torch.rand(1, 3, height // 24 + 2, width // 24 + 2, generator=torch.Generator().manual_seed(3))
    large = nn.functional.interpolate(small, (height, width), mode="bicubic")[0].permute(1, 2, 0).numpy() * 200 + 25
    return Picture(np.clip(large + random_pixels(height, width) / 16, 0, 255).astype(np.uint8))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(one.astype(float) - other).mean(), 1e-9)))


def resnet() -> Translator:
    torch.manual_seed(0)
    return Translator(
        build_generator("resnet_6blocks", channels=4, init="xavier", upsampling="resize"),
        device="cpu",
        precision="fp32",
    )


@pytest.mark.slow
def test_tiles_of_any_size_agree_with_the_whole_where_naive_ones_do_not() -> None:
    translator, picture = resnet(), smooth(330, 410)
    whole = translator(picture).pixels
    one, other = (tiled(translator, picture, tile)[0] for tile in (128, 200))
    naive = np.concatenate(
        [
            np.concatenate([translator(picture.pixels[y : y + 128, x : x + 128]) for x in range(0, 410, 128)], 1)
            for y in range(0, 330, 128)
        ]
    )
    assert psnr(one, whole) > 40
    assert psnr(other, whole) > 40
    assert psnr(one, other) > 40
    assert psnr(naive, whole) < 30


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_height_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator(Negative(), device="cpu")
    asked: list[int] = []

    class Endless(ArrayRegions):
        def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, None]:
            asked.append(height * width)
            return np.full((height, width, 3), 9, np.uint8), None

    regions = Endless(Picture(random_pixels(1, 1)))
    regions.header = Header(20_000, 300, 3, np.dtype(np.uint8), "TIFF", "RGB")
    written: list[int] = []
    translate_regions(translator, regions, lambda pixels, alpha: written.append(len(pixels)), tile=128)
    assert sum(written) == 20_000
    assert max(asked) <= 128 * 300
    assert max(written) <= 128
    assert sum(asked) <= 20_000 * 300 + 2  # each row once


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "multiple"), [(1000, 256, 64, 4), (516, 512, 64, 4), (768, 512, 256, 256)]
)
def test_the_tiles_of_an_axis_count_one_everywhere_and_nothing_at_their_edges(
    size: int, tile: int, overlap: int, multiple: int
) -> None:
    axis = Axis(size, tile, overlap, multiple)
    total, owned = np.zeros(size), np.zeros(size)
    for number, start in enumerate(axis.starts):
        first, last = axis.span(number)
        total[first:last] += axis.weights(number)
        owned[slice(*axis.interior(number))] += 1
        assert start % multiple == 0
        assert number == 0 or first - start >= overlap // 4, "the outer part counts nothing"
        assert number + 1 == len(axis.starts) or start + tile - last >= overlap // 4
    np.testing.assert_allclose(total, 1, atol=1e-6)
    np.testing.assert_array_equal(owned, 1)
    assert axis.starts[-1] + tile == size


def header(height: int, width: int) -> Header:
    return Header(height, width, 3, np.dtype(np.uint8), "PNG", "RGB")


def test_tiles_are_taken_only_where_the_whole_does_not_fit_and_then_the_largest_that_does() -> None:
    translator = resnet()
    large = header(5000, 5000)
    assert Tiling().tile_for(translator, header(300, 300)) is None
    assert Tiling(None).tile_for(translator, header(10**6, 10**6)) is None
    whole = whole_bytes(translator, large)
    assert Tiling(max_memory=whole).tile_for(translator, large) is None
    assert Tiling(max_memory=whole - 1).tile_for(translator, large) == 1024
    less = tile_bytes(translator, large, 1024) - 1
    assert Tiling(max_memory=less).tile_for(translator, large) == 768
    assert Tiling(max_memory=1).tile_for(translator, large) == 128
    assert Tiling(max_memory=2**31).tile_for(translator, header(20_000, 20_000)) == 512, "a row of larger ones is wide"
    assert Tiling(max_memory=1).tile_for(translator, header(100, 100)) is None


def test_a_size_that_is_given_is_taken_rounded_up_to_what_the_network_takes() -> None:
    assert Tiling(333).tile_for(resnet(), header(1000, 20)) == 336
    assert Tiling(333).tile_for(resnet(), header(330, 330)) is None
    unet = Translator(build_generator("unet_128", channels=2), device="cpu")
    assert Tiling(100).tile_for(unet, header(1000, 20)) == 256


def test_what_a_picture_takes_grows_with_its_pixels_and_counting_it_disturbs_nothing() -> None:
    translator = resnet()
    state = torch.get_rng_state()
    assert network_bytes(translator, 512, 512) == pytest.approx(4 * network_bytes(translator, 256, 256))
    least = 4 * 4 * 256 * 256 * 2  # the first layer before and after its norm
    assert least < network_bytes(translator, 256, 256) < 12 * least
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tile": 0}, "--tile 0"),
        ({"overlap": -1}, "--overlap -1"),
        ({"max_memory": 0}, "--max-memory"),
        ({"tile": 100, "overlap": 51}, "at most half of --tile 100"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(given: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Tiling(**given)


def test_a_picture_is_translated_with_all_its_pages() -> None:
    pages = (Picture(random_pixels(5, 4)), Picture(random_pixels(3, 2), np.full((3, 2), 3, np.uint8)))
    made = Translator(Negative(), device="cpu")(Picture(random_pixels(6, 7), pages=pages))
    np.testing.assert_array_equal(made.pixels, 255 - random_pixels(6, 7))
    assert [page.pixels.shape for page in made.pages] == [(5, 4, 3), (3, 2, 3)]
    np.testing.assert_array_equal(made.pages[1].alpha, pages[1].alpha)


def test_the_least_and_the_greatest_number_are_looked_for_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((120, 50, 1), 500, np.uint16)
    pixels[33, 7], pixels[95, 20] = 3, 60_000
    monkeypatch.setattr("cyclegan.translation.tiling.translate.NUMBERS", 50)
    monkeypatch.setattr("cyclegan.translation.tiling.translate.SAMPLED", 100)
    translator = Translator(Negative(1), device="cpu", scales=ValueScale(parse_range("minmax")))
    made, _ = tiled(translator, Picture(pixels), 32)
    np.testing.assert_allclose(made, 60_003 - pixels.astype(int), atol=1)
