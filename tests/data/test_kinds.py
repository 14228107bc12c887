import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.config import TrainConfig
from cyclegan.data import kinds as survey
from cyclegan.data.kinds import BYTES, FRACTIONS, InputKind, find_kinds, record_of, spread
from cyclegan.data.sets import find_sets
from cyclegan.errors import UsageError
from cyclegan.images import Full

Make = Callable[..., Path]


@pytest.fixture
def stack(tmp_path: Path) -> Make:
    """`stack(name, channels, dtype, low, high, count=3)` makes a folder of .npy pictures that fill a range."""

    def make(name: str, channels: int, dtype: str, low: float, high: float, count: int = 3) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number in range(count):
            pixels = np.linspace(low, high, 20 * 22 * channels).reshape(20, 22, channels).astype(dtype)
            np.save(folder / f"{dtype}-{channels}-{number}.npy", pixels)
        return folder

    return make


def found(a: Path, b: Path, text: str = "full", kept: dict | None = None) -> dict[str, InputKind]:
    config = TrainConfig(a=str(a), b=str(b), holdout=0, range=text)
    return find_kinds(config, find_sets(config, ("a", "b"), "unpaired"), kept)


def refusal(*arguments: object) -> str:
    with pytest.raises(UsageError) as caught:
        found(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_8_bit_rgb_travels_as_bytes(folder: Make) -> None:
    assert found(folder("a", 3), folder("b", 3)) == {"a": InputKind(), "b": InputKind()}


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_anything_deeper_in_either_folder_travels_as_fractions(dtype: str, folder: Make, stack: Make) -> None:
    high = 1 if dtype == "float32" else np.iinfo(dtype).max
    low = np.iinfo(dtype).min if dtype == "int16" else 0
    views = found(folder("a", 3), stack("b", 3, dtype, low, high))
    assert views["a"] == views["b"] == InputKind(3, FRACTIONS)


@pytest.mark.parametrize(
    ("a", "b", "channels"),
    [
        ((1,), (1,), (1, 1)),
        ((3,), (3,), (3, 3)),
        ((1, 3), (3,), (3, 3)),
        ((1,), (3,), (3, 3)),
        ((1,), (1, 3), (3, 3)),
        ((5,), (5,), (5, 5)),
        ((4,), (3,), (4, 3)),
        ((2,), (1,), (2, 1)),
    ],
)
def test_channels_are_those_that_the_pictures_have(
    a: tuple[int, ...], b: tuple[int, ...], channels: tuple[int, int], stack: Make
) -> None:
    folders = [[stack(name, count, "uint8", 0, 255) for count in kinds] for name, kinds in (("a", a), ("b", b))]
    views = found(*(made[0] for made in folders))
    assert (views["a"].channels, views["b"].channels) == channels
    assert views["a"].dtype == BYTES


def test_other_mixtures_are_refused_with_counts_and_an_example_of_each(stack: Make) -> None:
    stack("a", 3, "uint8", 0, 255, count=2)
    message = refusal(stack("a", 4, "uint8", 0, 255, count=3), stack("b", 3, "uint8", 0, 255))
    assert message.startswith("--a: ")
    assert "2 of 3 (uint8-3-0.npy), 3 of 4 (uint8-4-0.npy)" in message


@pytest.mark.parametrize(
    ("text", "a", "b"), [("minmax", "100,3000", "7,900"), ("0,4095", "0,4095", "0,4095"), ("0.5,9", "0.5,9", "0.5,9")]
)
def test_a_range_is_two_numbers_of_each_domain_and_of_its_type(text: str, a: str, b: str, stack: Make) -> None:
    views = found(stack("a", 1, "uint16", 100, 3000), stack("b", 1, "uint16", 7, 900), text)
    assert (views["a"].rule.text, views["b"].rule.text) == (a, b)
    assert {view.stored for view in views.values()} == {np.dtype(np.uint16)}
    assert {view.dtype for view in views.values()} == {FRACTIONS}


def test_percentiles_leave_out_a_few_hot_pixels(stack: Make) -> None:
    folder = stack("a", 1, "uint16", 1000, 2000)
    hot = np.load(folder / "uint16-1-0.npy")
    hot[0, 0] = 65535
    np.save(folder / "uint16-1-0.npy", hot)
    low, high = (
        float(edge)
        for edge in found(folder, stack("b", 1, "uint16", 5, 6), "percentile:1,99")["a"].rule.text.split(",")
    )
    assert 1000 <= low <= 1020
    assert 1980 <= high <= 2000


def test_what_is_wholly_transparent_is_not_measured(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).mkdir(exist_ok=True)
        for number in range(2):
            pixels = np.full((20, 20, 4), (50, 60, 70, 255), np.uint8)
            pixels[:5] = (0, 255, 0, 0)
            Image.fromarray(pixels, "RGBA").save(tmp_path / name / f"{number}.png")
    assert found(tmp_path / "a", tmp_path / "c", "minmax")["a"].rule.text == "50,70"


def test_no_range_is_measured_over_two_types_but_one_can_be_given(stack: Make) -> None:
    a, b = stack("a", 1, "uint8", 0, 255), stack("b", 1, "uint16", 0, 65535)
    message = refusal(a, b, "minmax")
    assert message.startswith("--range minmax: ")
    assert "uint8 (uint8-1-" in message
    assert "uint16 (uint16-1-" in message
    views = found(a, b, "0,200")
    assert {view.stored for view in views.values()} == {None}


@pytest.mark.parametrize("text", ["wide", "percentile:5", "5,5", "percentile:99,1", "0,inf"])
def test_a_range_that_is_none_is_refused(text: str, stack: Make) -> None:
    assert refusal(stack("a", 1, "uint16", 0, 9), stack("b", 1, "uint16", 0, 9), text).startswith(f"--range {text}: ")


def test_whole_numbers_of_32_bits_need_a_range(stack: Make) -> None:
    a, b = stack("a", 1, "int32", 0, 10**6), stack("c", 1, "int32", 0, 10**6)
    assert refusal(a, b).startswith("--range full: ")
    assert found(a, b, "minmax")["a"].rule.text == "0,1000000"


@pytest.mark.parametrize(
    ("dtype", "low", "high", "words"),
    [
        ("uint16", 0, 4095, "a small part of uint16"),
        ("int16", -1000, 3071, "a small part of int16"),
        ("float32", 0, 255, "what lies outside 0 and 1 is cut off"),
        ("float32", -1, 1, "what lies outside 0 and 1 is cut off"),
    ],
)
def test_a_full_range_that_does_not_fit_is_a_warning_with_the_numbers(
    dtype: str, low: int, high: int, words: str, stack: Make, caplog: pytest.LogCaptureFixture
) -> None:
    full = (0, 1) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    found(stack("a", 1, dtype, low, high), stack("c", 1, dtype, *full))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith("--a: ")
    assert words in record.message
    assert record.message.endswith(f"--range minmax, percentile:1,99 or {low},{high}")


def test_what_a_run_has_kept_is_taken_and_nothing_is_measured(stack: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = stack("a", 1, "uint16", 100, 3000), stack("b", 1, "uint16", 7, 900)
    before = found(a, b, "minmax")
    stack("a", 1, "uint16", 0, 9999)
    monkeypatch.setattr(survey, "read_picture", None)
    assert found(a, b, "minmax", record_of(before)) == before


def test_a_run_goes_on_only_with_the_channels_it_was_begun_with(folder: Make, stack: Make) -> None:
    begun = {"channels": {"a": 4, "b": 3}, "ranges": None}
    message = refusal(folder("rgb", 2), folder("c", 2), "full", begun)
    assert "have 3 channels and this run was begun with 4" in message
    assert "-o" in message
    grey = stack("a", 1, "uint8", 0, 255)  # which a run from before grey was noticed learnt from as RGB
    assert found(grey, folder("d", 2), "full", {"channels": {"a": 3, "b": 3}, "ranges": None})["a"].channels == 3


def test_pictures_that_cannot_be_read_are_left_to_the_training(folder: Make) -> None:
    a, b = folder("a", 3), folder("c", 2)
    for path in (a / "000.png", *b.iterdir()):
        path.write_text("dear diary")
    assert {view.channels for view in found(a, b).values()} == {3}
    assert "nothing can be measured" in refusal(a, b, "minmax")


def test_a_sample_is_evenly_spread_and_no_larger_than_asked() -> None:
    assert list(spread(5, 10)) == [0, 1, 2, 3, 4]
    assert list(spread(0, 10)) == []
    for count in (10, 11, 99, 1000):
        places = list(spread(count, 10))
        assert len(places) <= 10
        assert places[0] == 0
        assert places[-1] >= count * 0.8 - 2


def test_the_flag_of_a_data_set_is_named(folder: Make, tmp_path: Path) -> None:
    folder("root/trainB", 2)
    (tmp_path / "root/trainA").mkdir()
    for channels in (2, 4):
        np.save(tmp_path / f"root/trainA/{channels}.npy", np.zeros((9, 9, channels), np.uint8))
    config = TrainConfig(data=str(tmp_path / "root"), holdout=0)
    with pytest.raises(UsageError, match="--data: "):
        find_kinds(config, find_sets(config, ("a", "b"), "unpaired"))


def test_the_rules_of_full_are_all_the_same(folder: Make) -> None:
    assert all(isinstance(view.rule, Full) for view in found(folder("a", 2), folder("c", 2)).values())


def test_grey_stays_grey_beside_colour_where_the_method_has_no_need_of_equal_channels(
    stack: Make, folder: Make
) -> None:
    config = TrainConfig(a=str(stack("a", 1, "uint8", 0, 255)), b=str(folder("c", 2)), holdout=0)
    sets = find_sets(config, ("a", "b"), "unpaired")
    for equal, expected in ((True, (3, 3)), (False, (1, 3))):
        views = find_kinds(config, sets, equal_channels=equal)
        assert (views["a"].channels, views["b"].channels) == expected
        assert find_kinds(config, sets, record_of(views), equal_channels=equal) == views


def test_one_domain_has_a_record_of_its_own(stack: Make) -> None:
    config = TrainConfig(b=str(stack("b", 1, "uint16", 7, 900)), holdout=0, range="minmax")
    sets = find_sets(config, ("b",), "unpaired")
    views = find_kinds(config, sets)
    record = {"channels": {"b": 1}, "ranges": {"b": "7,900", "dtype": "uint16"}}
    assert record_of(views) == record
    assert find_kinds(config, sets, record) == views
    # By one of another method, which is refused when the run is opened, it is not tripped over
    foreign = {"channels": {"a": 1}, "ranges": {"a": "0,9", "dtype": "uint16"}}
    assert find_kinds(config, sets, foreign)["b"].channels == 1
