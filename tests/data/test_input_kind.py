import json

import numpy as np
import pytest

from cyclegan.data.kinds import (
    BYTES,
    FRACTIONS,
    FULL,
    PLAIN,
    InputKind,
    kept_rules,
    ranges_of,
    record_of,
    with_channels,
)
from cyclegan.images import Picture, parse_range


def numbers(dtype: str, channels: int = 3) -> np.ndarray:
    span = (0, 1) if dtype.startswith("float") else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.linspace(*span, 5 * 4 * channels).reshape(5, 4, channels).astype(dtype)


def test_a_picture_of_8_bits_is_shown_as_it_is_without_a_copy() -> None:
    pixels = numbers("uint8")
    assert InputKind().of(Picture(pixels)) is pixels
    assert InputKind().of(Picture(pixels, np.full((5, 4), 255, np.uint8))) is pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_the_ends_of_every_type_are_0_and_1(dtype: str) -> None:
    shown = InputKind(3, FRACTIONS).of(Picture(numbers(dtype)))
    assert (shown.dtype, shown.shape) == (FRACTIONS, (5, 4, 3))
    assert shown.min() == 0
    assert shown.max() == 1
    assert np.allclose(np.diff(shown.ravel()), 1 / 59, atol=1 / 250 if dtype == "uint8" else 1e-4)


def test_a_deep_picture_among_those_of_8_bits_is_rounded_to_them() -> None:
    deep = np.array([0, 128, 129, 257, 65535], np.uint16).reshape(1, 5, 1)
    assert InputKind(1).of(Picture(deep)).ravel().tolist() == [0, 0, 1, 1, 255]
    assert InputKind(1).of(Picture(deep)).dtype == BYTES


def test_a_given_range_is_cut_off_at_its_ends() -> None:
    view = InputKind(1, FRACTIONS, parse_range("100,300"))
    pixels = np.array([0, 100, 150, 300, 4000], np.uint16).reshape(1, 5, 1)
    assert view.of(Picture(pixels)).ravel().tolist() == [0, 0, 0.25, 1, 1]
    fractions = np.array([np.nan, -np.inf, np.inf, 200], np.float32).reshape(1, 4, 1)
    assert view.of(Picture(fractions)).ravel().tolist() == [0, 0, 1, 0.5]


@pytest.mark.parametrize(("dtype", "view"), [("uint8", InputKind()), ("uint16", InputKind(3, FRACTIONS))])
def test_what_is_transparent_is_white_and_what_is_half_so_keeps_its_colour(dtype: str, view: InputKind) -> None:
    pixels, alpha = np.zeros((1, 3, 3), dtype), np.array([[0, 1, np.iinfo(dtype).max]], dtype)
    shown = view.of(Picture(pixels, alpha))
    assert shown[0, :, 0].tolist() == [255 if dtype == "uint8" else 1, 0, 0]
    assert not pixels.any()


def test_grey_and_colour_become_each_other_and_nothing_else_does() -> None:
    grey, colour = numbers("uint16", 1), numbers("uint16", 3)
    assert np.array_equal(with_channels(grey, 3), np.concatenate([grey] * 3, axis=2))
    luma = colour.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(with_channels(colour, 1)[..., 0] - luma).max() <= 0.5
    for have, wanted in ((4, 3), (3, 4), (2, 1), (1, 4)):
        with pytest.raises(ValueError, match=f"it has {have} channels and the model takes {wanted}"):
            with_channels(numbers("uint8", have), wanted)


def test_a_measured_range_holds_for_its_own_type_alone() -> None:
    view = InputKind(1, FRACTIONS, parse_range("0,4095"), np.dtype(np.uint16))
    assert view.of(Picture(np.full((1, 1, 1), 4095, np.uint16))).item() == 1
    with pytest.raises(ValueError, match="its numbers are uint8, but the range of this run is of uint16"):
        view.of(Picture(np.zeros((1, 1, 1), np.uint8)))


def test_whole_numbers_of_32_bits_have_no_full_range() -> None:
    with pytest.raises(ValueError, match="give --range minmax"):
        InputKind(1, FRACTIONS).of(Picture(np.zeros((1, 1, 1), np.int32)))


def test_what_a_run_keeps_of_its_views_comes_back_through_json() -> None:
    stored = np.dtype(np.int16)
    views = {
        domain: InputKind(channels, FRACTIONS, parse_range(text), stored)
        for domain, channels, text in (("a", 4, "-1000,3071"), ("b", 1, "0.1,0.30000001"))
    }
    record = json.loads(json.dumps(record_of(views)))
    assert record["channels"] == {"a": 4, "b": 1}
    assert record["ranges"] == {"a": "-1000,3071", "b": "0.1,0.30000001", "dtype": "int16"}
    assert kept_rules(record["ranges"], ("a", "b")) == ({domain: view.rule for domain, view in views.items()}, stored)


def test_of_full_ranges_nothing_has_to_be_kept() -> None:
    assert ranges_of({"a": PLAIN, "b": PLAIN}) is None
    assert kept_rules(None, ("a", "b")) == ({"a": FULL, "b": FULL}, None)


def test_what_a_view_depends_on_tells_any_two_apart() -> None:
    views = [InputKind(), InputKind(1), InputKind(3, FRACTIONS), InputKind(3, FRACTIONS, parse_range("0,5"))]
    views.append(InputKind(3, FRACTIONS, parse_range("0,5"), np.dtype(np.int16)))
    assert len({view.depends_on for view in views}) == 5
