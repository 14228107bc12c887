"""Networks that are no modules of torch, as a session of another runtime would be."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.images import Picture, parse_range, read_image
from cyclegan.networks import GeneratorLike
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.value_scale import ValueScale
from tests.models.examples import generator
from tests.support.pictures import random_pixels
from tests.translation.examples import files, fp32, picture


class Inverting:
    """A session that knows arrays alone, and inverts as many channels as it gives."""

    multiple, smallest = 4, 8

    def __init__(self, channels: tuple[int, int] = (3, 3), tileable: bool = True, weight: float = -1.0) -> None:
        self.in_channels, self.out_channels = channels
        self.tileable = tileable
        self.weight = np.eye(*channels, dtype=np.float32) * weight
        self.lock = threading.Lock()  # which cannot be copied, and nothing of a session can
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor) -> Tensor:
        batch = x.cpu().numpy()
        assert batch.dtype == np.float32
        with self.lock:
            self.sizes.append(batch.shape)
        return torch.from_numpy(np.einsum("nchw,cd->ndhw", batch, self.weight))

    def state_dict(self) -> Mapping[str, Tensor]:
        return {"weight": torch.from_numpy(self.weight)}


def test_every_kind_of_picture_goes_through_a_network_that_is_no_module() -> None:
    translate = fp32(Inverting())
    pixels = random_pixels(9, 14)
    assert np.array_equal(translate(pixels), 255 - pixels)
    assert np.array_equal(np.asarray(translate(Image.fromarray(pixels))), 255 - pixels)
    assert np.array_equal(translate(Picture(pixels)).pixels, 255 - pixels)
    deep = Picture(pixels.astype(np.uint16) * 257)
    assert np.array_equal(translate(deep).pixels, 65535 - deep.pixels)
    unit = torch.rand(2, 3, 5, 7) * 2 - 1
    assert torch.allclose(translate(unit), -unit)
    assert not translate.is_lent


def test_it_may_give_other_channels_than_it_takes() -> None:
    translate = fp32(Inverting((3, 1)))
    grey = np.full((5, 6, 3), (10, 20, 30), np.uint8)
    assert np.array_equal(translate(grey), np.full((5, 6, 1), 245))
    with pytest.raises(ValueError, match="height × width × 3"):
        translate(grey[:, :, :1])


def test_a_folder_goes_through_it_and_its_record_knows_its_weights(tmp_path: Path) -> None:
    pictures = {
        f"{number}.png": picture(tmp_path / f"in/{number}.png", (6, 4 + number % 2), number) for number in range(9)
    }
    network = Inverting()
    assert translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", batch_size=3).translated == 9
    assert files(tmp_path / "out") == sorted(pictures)
    for name, pixels in pictures.items():
        assert np.array_equal(read_image(tmp_path / "out" / name), 255 - pixels)
    assert (3, 3, 6, 4) in network.sizes
    assert translate_folder(fp32(Inverting()), tmp_path / "in", tmp_path / "out").skipped == 9
    with pytest.raises(UsageError, match="made with another MODEL"):
        translate_folder(fp32(Inverting(weight=1.0)), tmp_path / "in", tmp_path / "out")


def test_where_it_says_so_parts_of_a_picture_go_through_apart(tmp_path: Path) -> None:
    network = Inverting()
    pixels = picture(tmp_path / "in/a.png", (150, 200))
    summary = translate_folder(
        fp32(network), tmp_path / "in", tmp_path / "out", settings=TranslationSettings(PictureIO(), tile=62)
    )
    assert (summary.translated, summary.failed) == (1, [])
    assert np.array_equal(read_image(tmp_path / "out/a.png"), 255 - pixels)
    assert len(network.sizes) > 4
    assert max(size[2] for size in network.sizes) == max(size[3] for size in network.sizes) == 64


def test_what_it_takes_in_memory_is_told_by_its_pictures_where_tiles_are_chosen(tmp_path: Path) -> None:
    network = Inverting()
    pixels = picture(tmp_path / "in/a.png", (600, 300))
    settings = TranslationSettings(
        PictureIO(), max_memory=600 * 300 * 3 * 16
    )  # half of what the numbers of this picture take on their way
    translate_folder(fp32(network), tmp_path / "in", tmp_path / "out", settings=settings)
    assert np.array_equal(read_image(tmp_path / "out/a.png"), 255 - pixels)
    assert len(network.sizes) > 1


@pytest.mark.parametrize("asked", [Tiling(64), Tiling(overlap=8), Tiling(max_memory=2**30)], ids=str)
def test_tiles_of_what_takes_whole_pictures_only_are_refused_before_any_work(tmp_path: Path, asked: Tiling) -> None:
    picture(tmp_path / "in/a.png", (150, 200))
    translator = fp32(Inverting(tileable=False))
    settings = TranslationSettings(PictureIO(), tile=asked.tile, overlap=asked.overlap, max_memory=asked.max_memory)
    with pytest.raises(UsageError, match=r"--tile.*whole pictures only; leave them out"):
        translate_folder(translator, tmp_path / "in", tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_without_tiles_a_picture_that_does_not_fit_is_a_failure(tmp_path: Path) -> None:
    class Narrow(Inverting):
        def __call__(self, x: Tensor) -> Tensor:
            if x.numel() > 3 * 50 * 50:
                raise RuntimeError("onnxruntime: Failed to allocate memory")
            return super().__call__(x)

    picture(tmp_path / "in/large.png", (150, 200))
    pixels = picture(tmp_path / "in/small.png")
    summary = translate_folder(fp32(Narrow(tileable=False)), tmp_path / "in", tmp_path / "out")
    assert [name for name, _ in summary.failed] == ["large.png"]
    assert np.array_equal(read_image(tmp_path / "out/small.png"), 255 - pixels)


def test_a_network_that_does_not_say_what_is_asked_of_it_is_an_error_with_the_names() -> None:
    with pytest.raises(TypeError, match="Identity has no in_channels, out_channels, multiple, smallest, tileable;"):
        Translator(nn.Identity(), device="cpu")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"object has no .*, __call__, state_dict; cyclegan\.networks\.GeneratorLike"):
        Translator(object(), device="cpu")  # type: ignore[arg-type]


def test_a_network_that_makes_other_sizes_than_it_says_is_noticed() -> None:
    class Short(Inverting):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x)[:, :, 1:]

    with pytest.raises(AssertionError, match=r"Short made \(1, 3, 3, 5\) and not \(1, 3, 4, 5\)"):
        fp32(Short())(np.zeros((4, 5, 3), np.uint8))


def test_our_generators_are_what_translation_asks_for() -> None:
    networks: list[GeneratorLike] = [generator(in_channels=1, out_channels=4), generator(name="unet_128"), Inverting()]
    said = [(it.in_channels, it.out_channels, it.multiple, it.smallest, it.tileable) for it in networks]
    assert said == [(1, 4, 4, 8, True), (3, 3, 128, 128, True), (3, 3, 4, 8, True)]


def test_a_range_holds_for_it_as_for_any_network() -> None:
    translate = Translator(Inverting((1, 1)), device="cpu", scales=ValueScale(parse_range("100,300")))
    made = translate(Picture(np.array([[[100], [300], [150]]], np.uint16)))
    assert made.pixels[0, :, 0].tolist() == [300, 100, 250]
