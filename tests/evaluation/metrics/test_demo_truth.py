"""Marks against a known truth: the truth passes, and each easy way out fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cyclegan.data.demo.animal import Pair
from cyclegan.data.demo.write import scene, write_demo
from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.metrics.demo_truth import psnr, right_texture, score
from cyclegan.images import read_image, write_image

Change = Callable[[Pair], np.ndarray]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [scene(0, "test", "a", index, 64) for index in range(10)]


def texture(pairs: list[Pair], change: Change) -> float:
    marks = [right_texture(change(pair), pair.plain, pair.striped, pair.coat) for pair in pairs]
    return float(np.concatenate(marks).mean())


def decibel(pairs: list[Pair], change: Change) -> float:
    return float(np.mean([psnr(change(pair), pair.striped) for pair in pairs]))


def pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def uniform(colour: tuple[int, int, int]) -> Change:
    """Every animal in one colour; the place untouched."""

    def change(pair: Pair) -> np.ndarray:
        coat = pair.coat[..., None] / 255
        return pixels(pair.plain * (1 - coat) + coat * np.array(colour))

    return change


def exchanged(pair: Pair) -> np.ndarray:
    """Dark stripes where the pale ones should be: the tones mirrored at their middle."""
    inside = pair.striped[pair.coat == 255].astype(float)
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    coat = pair.coat[..., None] / 255
    return pixels(pair.striped * (1 - coat) + coat * (2 * middle - pair.striped))


def smoothed(pair: Pair) -> np.ndarray:
    """The truth, out of focus: each pixel averaged with its neighbours, weights 1 4 1."""
    values = pair.striped.astype(float)
    for axis in (0, 1):
        values = (np.roll(values, 1, axis) + 4 * values + np.roll(values, -1, axis)) / 6
    return pixels(values)


def grey(pair: Pair) -> np.ndarray:
    """The whole picture without colour."""
    return pixels(np.repeat(pair.plain.mean(axis=2, keepdims=True), 3, axis=2))


def half_done(pair: Pair) -> np.ndarray:
    """Brown animals with the right stripes at little more than half of their strength, still brown."""
    coat = pair.coat[..., None] / 255
    middle = pair.striped[pair.coat == 255].mean(axis=0)
    return pixels(pair.plain + coat * 0.55 * (pair.striped - middle))


def in_green(pair: Pair) -> np.ndarray:
    """The right stripes, pale to green."""
    coat = pair.coat[..., None] / 255
    return pixels(pair.striped * (1 - coat) + coat * (pair.striped * (0.0, 1.0, 0.0) + (0, 40, 0)))


def moved(by: int) -> Change:
    """The right stripes, some pixels too far to the right and too low; grey where that leaves none."""

    def change(pair: Pair) -> np.ndarray:
        inside = (pair.coat == 255) & (np.roll(pair.coat, (by, by), (0, 1)) == 255)
        shifted = np.roll(pair.striped, (by, by), (0, 1))
        return np.where(inside[..., None], shifted, uniform((128, 126, 124))(pair))

    return change


def by_colour(pair: Pair) -> np.ndarray:
    """The best that a change of colours can do: each colour of A to the mean of what it becomes, truth in hand."""
    keys = (pair.plain // 8).astype(int) @ np.array([1024, 32, 1])
    _, groups = np.unique(keys.ravel(), return_inverse=True)
    sums = [np.bincount(groups, weights=channel) for channel in pair.striped.reshape(-1, 3).T]
    means = np.stack(sums, axis=1) / np.bincount(groups)[:, None]
    return pixels(means[groups].reshape(pair.plain.shape))


def test_psnr_is_ten_times_the_logarithm_of_peak_power_over_error() -> None:
    black, grey_10 = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 10, np.uint8)
    assert psnr(grey_10, black) == pytest.approx(10 * np.log10(255**2 / 100))
    assert psnr(np.full((4, 5, 3), 255, np.uint8), black) == pytest.approx(0)
    half = black.copy()
    half[:2] = 10
    assert psnr(half, black) - psnr(grey_10, black) == pytest.approx(10 * np.log10(2))


def test_equal_pictures_score_the_error_of_rounding_and_not_infinity() -> None:
    picture = np.full((4, 4, 3), 77, np.uint8)
    assert psnr(picture, picture) == pytest.approx(10 * np.log10(255**2 * 12))


def test_the_truth_has_the_right_texture_everywhere(pairs: list[Pair]) -> None:
    assert texture(pairs, lambda pair: pair.striped) == 1


def test_the_truth_a_little_out_of_focus_still_passes(pairs: list[Pair]) -> None:
    assert texture(pairs, smoothed) > 0.95


def test_the_truth_in_a_slightly_wrong_light_still_passes(pairs: list[Pair]) -> None:
    assert texture(pairs, lambda pair: pixels(pair.striped * (0.95, 0.9, 0.8))) > 0.95


@pytest.mark.parametrize(
    ("change", "most"),
    [
        pytest.param(lambda pair: pair.plain, 0.0, id="nothing is done"),
        pytest.param(grey, 0.02, id="the picture loses its colour"),
        pytest.param(uniform((128, 126, 124)), 0.005, id="grey animals"),
        pytest.param(uniform((235, 230, 222)), 0.05, id="pale animals"),
        pytest.param(uniform((35, 30, 30)), 0.05, id="dark animals"),
        pytest.param(uniform((0, 255, 0)), 0.0, id="green animals"),
        pytest.param(by_colour, 0.05, id="the best change of colours"),
        pytest.param(in_green, 0.05, id="the right stripes in green"),
        pytest.param(exchanged, 0.0, id="stripes inverted"),
        pytest.param(moved(6), 0.05, id="stripes half a period off"),
        pytest.param(moved(3), 0.1, id="stripes a quarter of a period off"),
    ],
)
def test_an_easy_way_out_does_not_pass(pairs: list[Pair], change: Change, most: float) -> None:
    assert texture(pairs, change) <= most
    # Nor does it come near the 3 dB that a translation has to gain over doing nothing
    assert decibel(pairs, change) < decibel(pairs, lambda pair: pair.plain) + 3


def test_stripes_that_hardly_leave_the_brown_gain_in_psnr_and_not_in_texture(pairs: list[Pair]) -> None:
    assert decibel(pairs, half_done) > decibel(pairs, lambda pair: pair.plain) + 1
    assert texture(pairs, half_done) < 0.1


def test_the_way_back_is_marked_by_the_same_rule(pairs: list[Pair]) -> None:
    def back(change: Change) -> float:
        return float(np.concatenate([right_texture(change(p), p.striped, p.plain, p.coat) for p in pairs]).mean())

    assert back(lambda pair: pair.plain) == 1
    assert back(lambda pair: pair.striped) == 0
    assert back(uniform((128, 126, 124))) < 0.02
    assert back(uniform((145, 100, 60))) > 0.9


def test_the_marks_do_not_depend_on_the_size() -> None:
    def shares(size: int) -> list[float]:
        drawn = [scene(0, "test", "a", index, size) for index in range(4)]
        return [texture(drawn, moved(size // 32)), texture(drawn, uniform((235, 230, 222)))]

    np.testing.assert_allclose(shares(64), shares(128), atol=0.05)


def test_a_picture_without_an_animal_has_no_texture_to_mark() -> None:
    empty = np.zeros((16, 20, 3), np.uint8)
    assert right_texture(empty, empty, empty, np.zeros((16, 20), np.uint8)).shape == (0,)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    write_demo(tmp_path / "demo", count=0, test_count=3, size=32)
    return tmp_path / "demo"


def test_folders_are_marked_by_name(demo: Path) -> None:
    folders = (demo / "testA", demo / "truth/testA", demo / "truth/maskA")
    nothing = score(demo / "testA", *folders)
    assert (nothing.count, nothing.gain_db, nothing.texture, nothing.background) == (3, 0, 0, 1)
    perfect = score(demo / "truth/testA", *folders)
    assert (perfect.texture, perfect.background, perfect.background_error) == (1, 1, 0)
    assert perfect.psnr == pytest.approx(nothing.psnr_nothing + perfect.gain_db)
    assert perfect.gain_db > 35


def test_a_spoilt_background_is_seen_and_an_animal_is_not_taken_for_one(demo: Path, tmp_path: Path) -> None:
    for index in range(3):
        name = f"{index:04d}.png"
        picture, coat = read_image(demo / "truth/testA" / name), read_image(demo / "truth/maskA" / name)
        place = (coat[..., 0] == 0) & (np.arange(32) < 16)[:, None]
        spoilt = picture.astype(float)
        spoilt[place] = np.where(spoilt[place] < 128, spoilt[place] + 100, spoilt[place] - 100)
        write_image(tmp_path / "out" / name, pixels(spoilt))
    marks = score(tmp_path / "out", demo / "testA", demo / "truth/testA", demo / "truth/maskA")
    assert marks.texture == 1
    assert 0.3 < marks.background < 0.7
    assert marks.background_error == pytest.approx(100 * (1 - marks.background))


def test_a_missing_translation_is_named(demo: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "out/0000.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(UsageError, match=r"lacks 2 of 3 pictures, first 0001\.png"):
        score(tmp_path / "out", demo / "testA", demo / "truth/testA", demo / "truth/maskA")


def test_a_translation_of_another_size_is_named(demo: Path, tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"out/{index:04d}.png", np.zeros((32, 30, 3), np.uint8))
    with pytest.raises(CycleganError, match=r"0000\.png is 30×32, but .* is 32×32"):
        score(tmp_path / "out", demo / "testA", demo / "truth/testA", demo / "truth/maskA")


def test_a_folder_that_is_not_there_is_named(demo: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        score(demo / "nowhere", demo / "testA", demo / "truth/testA", demo / "truth/maskA")


def test_a_demo_without_test_pictures_cannot_be_scored(tmp_path: Path) -> None:
    write_demo(tmp_path, count=0, test_count=0)
    with pytest.raises(UsageError, match="--test-count"):
        score(tmp_path / "testA", tmp_path / "testA", tmp_path / "truth/testA", tmp_path / "truth/maskA")
