import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.data.check import Spread, check_folders
from cyclegan.errors import UsageError
from tests.support.pictures import random_pixels

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


def test_depths_channels_and_the_numbers_found_are_reported(tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), (3, 40, 200)).save(tmp_path / "rgb.png")
    for name, low, high in (("one", 100, 4000), ("two", 7, 900)):
        np.save(tmp_path / f"{name}.npy", np.linspace(low, high, 6400).reshape(80, 80).astype(np.uint16))
    (found,) = check_folders([tmp_path]).folders
    assert found.depths == {"16-bit": 2, "8-bit": 1}
    assert found.channels == {1: 2, 3: 1}
    assert found.ranges == {"16-bit": (7, 4000), "8-bit": (3, 200)}
    deep, grey = found.mixes
    assert "16-bit" in deep
    assert "8-bit" in deep
    assert "with --range full each is shown by its own depth" in deep
    assert grey == "1 and 3 channels together (two.npy, rgb.png): training shows grey as RGB"


def test_channels_that_cannot_be_learnt_from_together_are_a_problem(tmp_path: Path) -> None:
    for name, channels in (("a", 3), ("b", 3), ("c", 4)):
        np.save(tmp_path / f"{name}.npy", np.zeros((80, 80, channels), np.uint8) + np.uint8(ord(name)))
    report = check_folders([tmp_path])
    assert report.problems == [f"{tmp_path} mixes channels (2 of 3 and 1 of 4); keep those of one kind"]
    assert report.folders[0].mixes == ["3 and 4 channels together (b.npy, c.npy): training refuses the mixture"]


def test_numbers_that_are_none_are_a_problem_and_stay_out_of_the_range(tmp_path: Path) -> None:
    numbers = np.full((80, 80), 0.5, np.float32)
    numbers[:2] = [[np.nan], [np.inf]]
    np.save(tmp_path / "some.npy", numbers)
    np.save(tmp_path / "all.npy", np.full((80, 80), np.nan, np.float32))
    np.save(tmp_path / "none.npy", np.full((80, 80), 0.25, np.float32))
    report = check_folders([tmp_path])
    (found,) = report.folders
    assert found.not_finite == ["all.npy", "some.npy"]
    assert found.ranges["32-bit float"] == (0.25, 0.5)
    assert any("2 pictures with numbers that are not finite" in problem for problem in report.problems)


def test_what_is_transparent_animated_or_has_a_profile_is_said(tmp_path: Path) -> None:
    from PIL import ImageCms

    pixels = random_pixels(80, 80, 4)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    Image.new("RGBA", (80, 80), "red").save(tmp_path / "opaque.png")
    frames = [Image.new("RGB", (80, 80), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (80, 80), "blue").save(tmp_path / "tagged.png", icc_profile=profile)
    (found,) = check_folders([tmp_path]).folders
    assert (found.transparent, found.profiles) == (1, 1)
    assert found.notes == [("moving.gif", "the first of 3 frames")]


def test_documents_are_counted_by_their_pages(tmp_path: Path) -> None:
    first, *others = [Image.new("RGB", (80, 80), colour) for colour in ("red", "green", "blue")]
    first.save(tmp_path / "three.tif", save_all=True, append_images=others)
    first.save(tmp_path / "one.png")
    assert check_folders([tmp_path]).folders[0].pages == {3: 1}


def test_pictures_that_differ_in_transparency_or_depth_alone_are_no_duplicates(tmp_path: Path) -> None:
    pixels = random_pixels(80, 80, 4)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    Image.fromarray(pixels[:, :, :3]).save(tmp_path / "opaque.png")
    np.save(tmp_path / "deep.npy", pixels[:, :, :3].astype(np.uint16))
    assert check_folders([tmp_path]).duplicates == []


def test_of_an_enormous_picture_parts_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.data import check

    pixels = np.zeros((700, 800), np.uint16)
    pixels[0, 0], pixels[-1, -1] = 5, 900
    np.save(tmp_path / "slide.npy", pixels)
    np.save(tmp_path / "copy.npy", pixels)
    whole = check_folders([tmp_path])
    monkeypatch.setattr(check, "WHOLE", 1000)
    monkeypatch.setattr(check, "decode_picture", None)
    report = check_folders([tmp_path])
    assert report.folders == whole.folders
    assert report.folders[0].ranges == {"16-bit": (0, 900)}
    assert [duplicate.same for duplicate in report.duplicates] == ["file"]
