"""The engine: every kind and size of picture in, the same kind and size out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.translation import Translator
from tests.models.examples import INFO, generator, generators_file
from tests.support.pictures import random_pixels
from tests.translation.examples import Negative, Plain, fp32

SIZES = [(1, 1), (1, 7), (5, 300), (257, 63), (256, 256)]


def _negative() -> Translator:
    return fp32(Negative())


@pytest.mark.parametrize("name", ["resnet_6blocks", "unet_128"])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_of_any_size_comes_back_in_that_size(name: str, size: tuple[int, int]) -> None:
    translate = Translator(generator(name=name), device="cpu", precision="fp32")
    made = translate(random_pixels(*size))
    assert made.shape == (*size, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made, translate(random_pixels(*size)))


def test_every_kind_of_picture_comes_back_as_its_own_kind_with_the_same_content() -> None:
    pixels = random_pixels(9, 14)
    expected = 255 - pixels
    translate = _negative()

    image = translate(Image.fromarray(pixels))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), expected)

    assert np.array_equal(translate(pixels), expected)

    for kind in (np.float16, np.float32, np.float64):
        floats = translate((pixels / 255).astype(kind))
        assert floats.dtype == np.float32
        assert np.abs(floats - expected / 255).max() < 1e-3

    chw = torch.from_numpy(pixels).permute(2, 0, 1)
    made = translate(chw)
    assert made.dtype == torch.uint8
    assert np.array_equal(made.permute(1, 2, 0).numpy(), expected)
    assert torch.equal(translate(torch.stack([chw, chw.flip(2)])), torch.stack([255 - chw, 255 - chw.flip(2)]))

    unit = chw.double() / 127.5 - 1
    for shape in (unit, unit[None]):
        made = translate(shape)
        assert made.dtype == torch.float64
        assert made.shape == shape.shape
        assert torch.allclose(made, -shape, atol=1e-6)


def test_bytes_go_through_unchanged_where_the_generator_changes_nothing() -> None:
    class Same(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return x

    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(fp32(Same())(ramp), ramp)


def test_values_beyond_white_and_black_are_cut_not_wrapped() -> None:
    class Louder(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x

    made = Translator(Louder(), device="cpu", precision="fp32")(np.array([[[0, 128, 255]]], dtype=np.uint8))
    assert made.tolist() == [[[0, 129, 255]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_a_pillow_image_of_any_mode_is_translated_as_the_colours_it_shows(mode: str) -> None:
    image = Image.fromarray(random_pixels(6, 5)).convert("L" if mode == "I;16" else "RGB").convert(mode)
    made = _negative()(image)
    assert made.size == image.size
    assert made.mode == "RGB"


def test_transparent_pixels_are_white_whatever_colour_they_hide() -> None:
    hidden = Image.fromarray(np.full((2, 2, 4), (200, 30, 90, 0), dtype=np.uint8))
    assert np.asarray(_negative()(hidden)).max() == 0


def test_a_flipped_or_strided_array_is_read_as_it_looks() -> None:
    pixels = random_pixels(12, 10)
    for view in (pixels[::-1], pixels[:, ::-1], pixels[::2, ::3], np.asfortranarray(pixels)):
        assert np.array_equal(_negative()(view), 255 - view)


def test_the_picture_given_is_not_changed() -> None:
    pixels, unit = random_pixels(4, 4), torch.rand(3, 4, 4)
    before = pixels.copy(), unit.clone()
    _negative()(pixels)
    _negative()(unit)
    assert np.array_equal(pixels, before[0])
    assert torch.equal(unit, before[1])


def test_a_batch_of_mixed_sizes_equals_the_pictures_one_by_one_in_order() -> None:
    translate = Translator(generator(), device="cpu", precision="fp32")
    sizes = [(20, 16), (7, 9), (20, 16), (16, 20), (7, 9)]
    pictures = [random_pixels(*size, seed=seed) for seed, size in enumerate(sizes)]
    together = translate.batch(pictures)
    assert len(together) == 5
    for picture, made in zip(pictures, together, strict=True):
        alone = translate(picture)
        assert made.shape == alone.shape
        assert np.abs(made.astype(int) - alone).max() <= 1  # kernels differ in the last digit with the batch
    assert translate.batch([]) == []


def test_equal_sizes_in_a_batch_go_through_the_network_together() -> None:
    seen = []

    class Counting(Plain):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return x

    Translator(Counting(), device="cpu").batch([random_pixels(4, 4), random_pixels(5, 4), random_pixels(4, 4)])
    assert sorted(seen) == [(1, 3, 5, 4), (2, 3, 4, 4)]


def test_translation_is_free_of_dropout_and_leaves_a_borrowed_network_in_training() -> None:
    network = generator(dropout=True, norm="batch").train()
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    translate = Translator(network, device="cpu", precision="fp32")
    assert np.array_equal(translate(random_pixels(16, 16)), translate(random_pixels(16, 16)))
    assert network.training
    assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())


def test_bf16_is_close_to_fp32() -> None:
    exact, fast = (Translator(generator(), device="cpu", precision=p) for p in ("fp32", "bf16"))
    pixels = random_pixels(32, 24)
    difference = np.abs(exact(pixels).astype(int) - fast(pixels))
    assert difference.max() > 0  # it did compute in another precision
    assert difference.mean() < 4


@pytest.mark.parametrize(
    ("picture", "error", "sentence"),
    [
        ("photo.png", TypeError, "not str"),
        (np.zeros((4, 4), np.uint8), ValueError, r"height × width × 3.*not \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"not \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"not \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int64), TypeError, "not int64"),
        (np.full((4, 4, 3), 200.0), ValueError, r"lies in \[0, 1\], not in \[200, 200\]"),
        (np.full((4, 4, 3), np.nan), ValueError, "nan"),
        (torch.zeros(4, 4, 3), ValueError, r"3×H×W"),
        (torch.zeros(1, 3, 0, 4), ValueError, r"none of them 0"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), TypeError, "int32"),
        (torch.full((3, 4, 4), 255.0), ValueError, r"lies in \[-1, 1\], not in \[255, 255\]"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(picture: object, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        _negative()(picture)


def test_a_model_of_other_channels_takes_those(tmp_path: Path) -> None:
    translate = Translator(generator(in_channels=1, out_channels=1), device="cpu", precision="fp32")
    assert translate(np.zeros((5, 6, 1), np.uint8)).shape == (5, 6, 1)
    assert translate(Image.new("L", (6, 5))).mode == "L"
    five = Translator(generator(in_channels=5, out_channels=2), device="cpu", precision="fp32")
    assert five(torch.zeros(2, 5, 8, 9)).shape == (2, 2, 8, 9)


def test_load_takes_a_path_and_nothing_else(tmp_path: Path) -> None:
    path = generators_file(tmp_path / "model", seed=3)
    pixels = random_pixels(13, 17)
    for direction, seed in (("ab", 3), ("ba", 4)):
        loaded = Translator.load(path, direction, device="cpu", precision="fp32")
        assert loaded.info == INFO
        assert np.array_equal(loaded(pixels), Translator(generator(seed), device="cpu", precision="fp32")(pixels))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"direction": "up"}, "--direction up: .* holds only ab and ba"),
        ({"device": "toaster"}, "--device"),
        ({"precision": "fp12"}, "--precision"),
    ],
)
def test_an_option_that_cannot_be_met_is_named(tmp_path: Path, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Translator.load(generators_file(tmp_path / "model"), **{"device": "cpu", **options})


def test_device_and_precision_are_looked_at_before_the_file() -> None:
    with pytest.raises(UsageError, match="--device"):
        Translator.load("no such file", device="toaster")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_gives_the_same_picture_back_where_it_came_from(precision: str) -> None:
    pixels = random_pixels(61, 47)
    expected = Translator(generator(), device="cpu", precision="fp32")(pixels)
    translate = Translator(generator(), device="cuda", precision=precision)
    assert np.abs(translate(pixels).astype(int) - expected).mean() < 4
    assert translate(torch.rand(3, 9, 9)).device.type == "cpu"
    assert translate(torch.rand(3, 9, 9, device="cuda")).device.type == "cuda"
