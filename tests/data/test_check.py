import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.data.check import Spread, check_folders
from cyclegan.errors import UsageError

Folder = Callable[..., Path]


def test_a_folder_in_order_is_described_and_has_no_problem(folder: Folder) -> None:
    path = folder("horses", 4, size=80)
    Image.open(path / "000.png").resize((100, 90)).save(path / "wide.jpg")
    report = check_folders([path])
    (found,) = report.folders
    assert report.problems == []
    assert report.duplicates == []
    assert (found.path, found.pictures) == (str(path), 5)
    assert found.width == Spread(80, 80, 100)
    assert found.height == Spread(80, 80, 90)
    assert found.modes == {"RGB": 5}
    assert found.formats == {"PNG": 4, "JPEG": 1}
    assert found.grey == []


def test_unreadable_pictures_come_with_their_reason(folder: Folder) -> None:
    path = folder("horses", 3, size=80)
    data = (path / "001.png").read_bytes()
    (path / "001.png").write_bytes(data[: len(data) // 2])
    (path / "text.jpg").write_text("dear diary")
    (path / "link.jpg").symlink_to(path / "gone")
    report = check_folders([path])
    reasons = dict(report.folders[0].unreadable)
    assert set(reasons) == {"001.png", "text.jpg", "link.jpg"}
    assert "truncated" in reasons["001.png"]
    assert "not a picture" in reasons["text.jpg"]
    assert "no such file" in reasons["link.jpg"]
    assert report.problems == [f"{path}: 3 pictures cannot be read; mend or remove"]


def test_duplicates_are_found_by_content_within_and_between_folders(folder: Folder) -> None:
    a, b = folder("horses", 3, size=80), folder("zebras", 3, size=80)
    (a / "copy.png").write_bytes((a / "000.png").read_bytes())
    Image.open(a / "001.png").save(b / "other.bmp")
    report = check_folders([a, b])
    within, between = report.duplicates
    assert within.places == [(str(a), "000.png"), (str(a), "copy.png")]
    assert within.same == "file"
    assert between.places == [(str(a), "001.png"), (str(b), "other.bmp")]
    assert between.same == "pixels"
    assert between.folders == [str(a), str(b)]
    assert report.problems == [
        f"1 picture twice or more in {a}; keep one of each",
        f"1 picture in each of {a}, {b}; keep one of each",
    ]


def test_pictures_of_the_same_bytes_in_another_shape_are_no_duplicates(tmp_path: Path) -> None:
    for name, size in (("wide.png", (80, 100)), ("high.png", (100, 80))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    assert check_folders([tmp_path]).duplicates == []


def test_equal_files_that_cannot_be_read_are_duplicates_too(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_text("dear diary")
    assert [duplicate.same for duplicate in check_folders([tmp_path]).duplicates] == ["file"]


def test_small_pictures_are_those_with_a_side_below_the_minimum(tmp_path: Path) -> None:
    Image.new("RGB", (200, 63), "red").save(tmp_path / "low.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "enough.png")
    assert check_folders([tmp_path]).folders[0].small == [("low.png", 200, 63)]
    assert len(check_folders([tmp_path], 65).folders[0].small) == 2
    assert check_folders([tmp_path], 63).problems == []


def test_grey_pictures_are_noted_however_they_are_stored(folder: Folder) -> None:
    path = folder("horses", 2, size=80)
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8))
    grey.save(path / "l.png")
    grey.resize((81, 81)).convert("RGB").save(path / "rgb.png")
    report = check_folders([path])
    assert report.folders[0].grey == ["l.png", "rgb.png"]
    assert report.folders[0].modes == {"RGB": 3, "L": 1}
    assert report.problems == []


def test_a_data_set_is_checked_as_its_four_parts(folder: Folder, tmp_path: Path) -> None:
    for part in ("trainA", "trainB", "testA"):
        folder(f"data/{part}", 2, size=80)
    (tmp_path / "data/testA/leak.png").write_bytes((tmp_path / "data/trainA/000.png").read_bytes())
    report = check_folders([tmp_path / "data", tmp_path / "data/trainA"])
    assert [Path(found.path).name for found in report.folders] == ["trainA", "trainB", "testA"]
    assert len(report.problems) == 1
    assert "in each of" in report.problems[0]


def test_a_folder_without_pictures_is_a_problem_and_a_missing_one_a_mistake(tmp_path: Path) -> None:
    report = check_folders([tmp_path])
    assert "holds no picture" in report.problems[0]
    assert report.folders[0].width is None
    with pytest.raises(UsageError, match="does not exist"):
        check_folders([tmp_path / "gone"])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        check_folders([tmp_path / "file"])


def test_the_report_is_json_and_progress_counts_to_the_total(folder: Folder) -> None:
    calls: list[tuple[int, int]] = []
    report = check_folders([folder("horses", 3, size=80)], advance=lambda done, total: calls.append((done, total)))
    assert json.loads(json.dumps(report.to_json()))["folders"][0]["pictures"] == 3
    assert calls == [(1, 3), (2, 3), (3, 3)]
