"""The gallery: which translations are kept, and what is said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.evaluation import gallery
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.gallery import write_gallery
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.images import list_images
from tests.evaluation.examples import Engine, folder

BOTH = {"ab": Engine(torch.neg), "ba": Engine(torch.neg)}


class Brightness(nn.Module):
    """A judge's network by which the brighter a picture is, the more it is one of B."""

    def probabilities(self, pictures: Tensor) -> Tensor:
        of_b = torch.sigmoid(pictures.double().mean(dim=(1, 2, 3)) / 64 - 2)
        return torch.stack([1 - of_b, of_b, torch.zeros_like(of_b)], dim=1)


def judge() -> DomainClassifier:
    return DomainClassifier(Brightness(), 0.9, "0" * 64, {}, torch.device("cpu"), ("a", "b"))  # type: ignore[arg-type]


def greys(path: Path, count: int, side: int = 16) -> ImageSet:
    """`count` pictures, the first black and the last white."""
    path.mkdir()
    for number in range(count):
        level = round(255 * number / (count - 1))
        Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(path / f"{number:03d}.png")
    return ImageSet(path, list_images(path), side)


def held_out(tmp_path: Path, count: int) -> dict[str, ImageSet]:
    return {domain: greys(tmp_path / domain, count) for domain in "ab"}


def written(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_it_keeps_the_best_the_worst_and_some_between_in_the_order_of_the_judge(tmp_path: Path) -> None:
    about = written(write_gallery(tmp_path / "g", held_out(tmp_path, 60), BOTH, judge(), step=300, which="last"))
    assert (about["step"], about["which"], about["size"]) == (300, "last", 16)
    assert about["count"] == {"ab": 60, "ba": 60}
    names = [int(entry["name"][:3]) for entry in about["ab"]]
    assert names[:8] == list(range(8))  # black becomes white, which is B
    assert names[-8:] == list(range(52, 60))
    assert len(names) == 24
    assert set(np.diff(names[8:16])) <= {6, 7}  # 8 … 51, evenly
    assert [entry["group"] for entry in about["ab"]] == ["best"] * 8 + ["between"] * 8 + ["worst"] * 8
    # The other way round, white becomes black, which is A
    assert [int(entry["name"][:3]) for entry in about["ba"]][:2] == [59, 58]
    for way in ("ab", "ba"):
        chances = [entry["judge"] for entry in about[way]]
        assert chances == sorted(chances, reverse=True)
    assert about["ab"][0]["judge"] == pytest.approx(1 / (1 + np.exp(-(255 / 64 - 2))))


def test_the_files_are_the_input_its_translation_and_the_way_back(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", "a", 3, side=32)
    squares = {"a": ImageSet(root, list_images(root), 32), "b": ImageSet(root, list_images(root), 32)}
    engines = {"ab": Engine(torch.neg), "ba": Engine(lambda x: 0.5 * x)}
    about = written(write_gallery(tmp_path / "g", squares, engines, None, step=1, which="last"))
    for entry in about["ab"]:
        source, fake, rec = (np.asarray(Image.open(tmp_path / "g" / entry[role])) for role in ("source", "fake", "rec"))
        assert np.array_equal(source, np.asarray(Image.open(root / entry["name"])))
        assert np.array_equal(fake, 255 - source)
        assert np.abs(rec - (127.5 - 0.5 * (source - 127.5))).max() <= 0.5 + 1e-4
        assert entry["cycle_l1"] == pytest.approx(np.abs(1.5 * (source - 127.5)).mean(), rel=1e-5)
        assert entry["luminance_correlation"] == pytest.approx(-1)


def test_the_verdict_of_a_picture_agrees_with_the_probability(tmp_path: Path) -> None:
    squares = held_out(tmp_path, 20)
    about = written(write_gallery(tmp_path / "g", squares, {"ab": Engine(lambda x: x)}, judge(), step=1, which=""))
    verdicts = torch.cat([judge().verdict(batch) for batch in squares["a"].batches()])
    told = {entry["name"]: entry["judge"] > 0.5 for entry in about["ab"]}
    assert told == dict(zip(squares["a"].names, (verdicts == 1).tolist(), strict=True))
    assert set(told.values()) == {True, False}


@pytest.mark.parametrize(("count", "best", "between", "worst"), [(2, 1, 0, 1), (5, 3, 0, 2), (17, 8, 1, 8)])
def test_all_are_kept_where_there_are_few_and_none_twice(
    tmp_path: Path, count: int, best: int, between: int, worst: int
) -> None:
    about = written(write_gallery(tmp_path / "g", held_out(tmp_path, count), BOTH, judge(), step=1, which="last"))
    groups = [entry["group"] for entry in about["ab"]]
    assert [groups.count(name) for name in ("best", "between", "worst")] == [best, between, worst]
    assert len({entry["name"] for entry in about["ab"]}) == count


def test_one_picture_will_do(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", "a", 1, side=16)
    squares = {domain: ImageSet(root, list_images(root), 16) for domain in "ab"}
    for by in (None, judge()):
        about = written(write_gallery(tmp_path / "g", squares, BOTH, by, step=1, which="last"))
        assert len(about["ab"]) == len(about["ba"]) == 1


def test_without_a_judge_they_are_chosen_evenly_by_name(tmp_path: Path) -> None:
    about = written(write_gallery(tmp_path / "g", held_out(tmp_path, 60), BOTH, None, step=1, which="last"))
    names = [entry["name"] for entry in about["ab"]]
    assert (names[0], names[-1], len(names)) == ("000.png", "059.png", 24)
    assert names == sorted(names)
    assert {(entry["judge"], entry["group"]) for entry in about["ab"]} == {(None, "between")}


def test_one_direction_has_no_way_back(tmp_path: Path) -> None:
    squares = held_out(tmp_path, 4)
    about = written(write_gallery(tmp_path / "g", squares, {"ab": BOTH["ab"]}, judge(), step=1, which="last"))
    assert "ba" not in about
    assert about["count"] == {"ab": 4}
    assert {(entry["rec"], entry["cycle_l1"]) for entry in about["ab"]} == {(None, None)}
    assert not list((tmp_path / "g").glob("*rec*"))


def test_the_next_gallery_leaves_nothing_of_the_last(tmp_path: Path) -> None:
    place = tmp_path / "g"
    (tmp_path / "many").mkdir()
    write_gallery(place, held_out(tmp_path / "many", 20), BOTH, judge(), step=1, which="last")
    about = written(write_gallery(place, held_out(tmp_path, 3), BOTH, judge(), step=2, which="last"))
    named = {entry[role] for way in ("ab", "ba") for entry in about[way] for role in ("source", "fake", "rec")}
    assert {path.name for path in place.iterdir()} == named | {gallery.FILE}


def test_a_gallery_that_is_not_whole_has_no_list(tmp_path: Path) -> None:
    squares = held_out(tmp_path, 4)
    write_gallery(tmp_path / "g", squares, BOTH, None, step=1, which="last")
    broken = {"ab": BOTH["ab"], "ba": Engine(lambda x: 1 / 0)}
    with pytest.raises(ZeroDivisionError):
        write_gallery(tmp_path / "g", squares, broken, None, step=2, which="last")
    assert not (tmp_path / "g" / gallery.FILE).exists()


@pytest.mark.slow
def test_names_belong_to_their_pictures_where_some_cannot_be_read(tmp_path: Path) -> None:
    squares = held_out(tmp_path, 30)
    root = squares["a"].root
    (root / "000.png").write_bytes(b"no picture")
    for by in (None, judge()):
        fresh = squares | {"a": ImageSet(root, list_images(root), 16)}
        about = written(write_gallery(tmp_path / "g", fresh, BOTH, by, step=1, which="last"))
        assert about["count"]["ab"] == 29
        for entry in about["ab"]:
            there = np.asarray(Image.open(root / entry["name"]))
            assert np.array_equal(np.asarray(Image.open(tmp_path / "g" / entry["source"])), there)
        assert [entry["name"] for entry in about["ab"]][:2] == ["001.png", "002.png"]
