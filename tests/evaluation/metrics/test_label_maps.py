"""Accuracy and IoU of label maps, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cyclegan.errors import UsageError
from cyclegan.evaluation.metrics.label_maps import Colours, confusion, label_scores, read_colours

TABLE = "road: [128, 64, 128]\ncar: [0, 0, 142]\nsky: [70, 130, 180]\ntrain: [0, 80, 100]\nignore: [0, 0, 0]\n"
ROAD, CAR, SKY, IGNORE = (128, 64, 128), (0, 0, 142), (70, 130, 180), (0, 0, 0)


def drawn(*rows: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(rows, np.uint8)


def table(tmp_path: Path, text: str = TABLE) -> Path:
    (tmp_path / "colours.yaml").write_text(text)
    return tmp_path / "colours.yaml"


def scores(colours: Colours, *pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    return label_scores(np.sum([confusion(picture, truth, colours) for picture, truth in pairs], axis=0), colours)


def test_the_three_figures_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    picture = drawn([ROAD, ROAD, CAR, SKY], [CAR, CAR, SKY, ROAD])
    truth = drawn([ROAD, ROAD, ROAD, SKY], [CAR, SKY, SKY, IGNORE])
    # Of the truth: 3 roads (2 right), 1 car (right), 3 skies (2 right); the pixel that is ignored does not count.
    # Found: 2 roads, 3 cars, 2 skies. No train in either.
    found = scores(read_colours(table(tmp_path)), (picture, truth))
    assert found["pixel_accuracy"] == pytest.approx(5 / 7)
    assert found["class_accuracy"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found["class_iou"] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)


def test_a_class_that_only_the_picture_shows_costs_iou_and_not_accuracy(tmp_path: Path) -> None:
    found = scores(read_colours(table(tmp_path)), (drawn([ROAD, CAR]), drawn([ROAD, ROAD])))
    assert found == {"pixel_accuracy": 0.5, "class_accuracy": 0.5, "class_iou": pytest.approx(0.25)}


def test_pictures_add_up_pixel_by_pixel(tmp_path: Path) -> None:
    colours = read_colours(table(tmp_path))
    apart = (drawn([ROAD]), drawn([ROAD])), (drawn([CAR, CAR, SKY]), drawn([SKY, CAR, SKY]))
    together = drawn([ROAD, CAR, CAR, SKY]), drawn([ROAD, SKY, CAR, SKY])
    assert scores(colours, *apart) == scores(colours, together)


def test_a_colour_counts_as_the_nearest_one_even_in_large_pictures(tmp_path: Path) -> None:
    colours = read_colours(table(tmp_path))
    rng = np.random.default_rng(0)
    near = np.array(ROAD) + rng.integers(-20, 21, (300, 300, 3))
    assert (colours.classes(near.astype(np.uint8)) == 0).all()
    assert colours.classes(drawn([(1, 2, 140), (69, 131, 181)])).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("road: [1, 2]\ncar: [1, 2, 3]\n", "not three numbers"),
        ("road: [1, 2, 300]\ncar: [1, 2, 3]\n", "not three numbers"),
        ("road: red\ncar: [1, 2, 3]\n", "not three numbers"),
        ("road: [1, 2, 3]\ncar: [1, 2, 3]\n", "the same colour"),
        ("road: [1, 2, 3]\nignore: [0, 0, 0]\n", "two classes or more"),
        ("- road\n", "two classes or more"),
        ("road: [\n", "not YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not YAML"),
    ],
)
def test_a_table_that_is_none_is_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_colours(table(tmp_path, text))


def test_no_table_and_a_truth_of_nothing_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_colours(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="no pixel of the truth"):
        scores(read_colours(table(tmp_path)), (drawn([ROAD]), drawn([IGNORE])))
