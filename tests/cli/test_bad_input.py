"""Bad input gets one sentence and the right exit code: folders, sizes and pictures.

Every case goes through the console command itself, from the words that were typed to what lies on the disk.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.program import Ended, is_refusal, is_sentence, untouched
from tests.models.examples import generators_file
from tests.support.pictures import random_pixels

Folder = Callable[..., Path]
Program = Callable[..., Ended]


# Folders


@pytest.mark.parametrize("option", ["--a", "--b", "--test-a", "--data"])
def test_no_folder(train: Program, program: Program, tmp_path: Path, option: str) -> None:
    missing = tmp_path / "missing"
    ended = program("train", "--data", missing) if option == "--data" else train(option, missing)
    is_refusal(ended, f"{option}: {missing} does not exist; name a folder of pictures")


def test_no_folder_named_at_all(program: Program, tmp_path: Path) -> None:
    is_refusal(program("train"), "no pictures given", "--a and --b", "--data")
    is_refusal(program("train", "--a", tmp_path), "--a and --b")


def test_a_file_in_the_place_of_a_folder(train: Program, tmp_path: Path) -> None:
    (tmp_path / "horse.png").write_bytes(b"")
    is_refusal(train("--a", tmp_path / "horse.png"), "--a: ", "horse.png is a file; name the folder it is in")


def test_an_empty_folder(train: Program, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    is_refusal(train("--b", empty), f"--b: {empty} is empty; name a folder of pictures")


def test_a_folder_with_no_picture(train: Program, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "notes.txt").write_text("horses")
    (notes / ".hidden.png").write_bytes(b"")
    is_refusal(train("--b", notes), f"--b: {notes} holds no picture; the formats read are", ".jpg")


@pytest.mark.parametrize("spelling", ["{a}", "{a}/", "{a}/../horses", "{link}"])
def test_a_equal_to_b_by_whatever_name(train: Program, folder: Folder, tmp_path: Path, spelling: str) -> None:
    a, link = folder("horses", 5, 40), tmp_path / "link"
    link.symlink_to(a)
    ended = train("--a", a, "--b", spelling.format(a=a, link=link))
    is_refusal(ended, f"--a: {a} is the same folder as", "each set needs a folder of its own")


def test_one_picture_only_works_with_a_warning(train: Program, folder: Folder) -> None:
    one = folder("one", 1, 40)
    ended = train("--a", one)
    assert (ended.code, ended.out) == (0, "runs/one2zebras\n")
    assert f"--a: {one} has only one training picture" in ended.err
    assert "Error" not in ended.err


# Sizes


def test_a_crop_larger_than_the_load_size(train: Program, tmp_path: Path) -> None:
    ended = train("--crop-size", 40)
    is_refusal(ended, "--crop-size 40 is larger than --load-size 32; lower the first or raise the second")


@pytest.mark.parametrize(("discriminator", "least"), [("patch", 24), ("multiscale", 47)])
def test_a_crop_smaller_than_the_discriminator_needs(
    train: Program, tmp_path: Path, discriminator: str, least: int
) -> None:
    words = ("--discriminator", discriminator, "--load-size", least)
    ended = train(*words, "--crop-size", least - 1)
    is_refusal(ended, f"--crop-size {least - 1} is smaller than --discriminator {discriminator}", f"least {least}")
    assert train(*words, "--crop-size", least).code == 0


def test_pictures_smaller_than_the_crop_are_scaled_up_and_that_is_said_once(train: Program, folder: Folder) -> None:
    small = folder("small", 3, 20)
    ended = train("--a", small, "--steps", 4, "--holdout", 0)
    assert ended.code == 0, ended.err
    assert ended.err.count("scaled up") == 1
    assert "has 20×20 pixels, less than --crop-size 32" in ended.err


# Pictures


def _spoil(pictures: Path) -> None:
    """A text file and half of a photograph, both called .jpg."""
    (pictures / "text.jpg").write_text("this is no picture")
    whole = io.BytesIO()
    pixels = random_pixels(64, 64)
    Image.fromarray(pixels).save(whole, "JPEG")
    (pictures / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


@pytest.mark.slow
def test_a_text_file_named_jpg_and_a_truncated_jpeg_are_passed_over_and_each_is_said_once(
    train: Program, folder: Folder
) -> None:
    good, many = folder("good", 1, 40), folder("many", 40, 40)
    _spoil(good)
    ended = train("--a", good, "--b", many, "--holdout", 0, "--steps", 6)
    assert (ended.code, ended.out) == (0, "runs/good2many\n"), ended.err
    assert ended.err.count("text.jpg cannot be read (not a picture") == 1
    assert ended.err.count("truncated.jpg cannot be read (") == 1
    assert ended.err.count("cannot be read") == 2


def test_too_many_unreadable_pictures_end_the_run_with_the_list(train: Program, folder: Folder) -> None:
    spoilt = folder("spoilt", 1, 40)
    _spoil(spoilt)
    ended = train("--a", spoilt, "--holdout", 0, "--steps", 9)
    assert (ended.code, ended.out) == (1, "")
    last = ended.err[ended.err.index("Error: ") :].splitlines()
    assert "2 of 7 pictures cannot be read; mend or remove them (`cyclegan data check` finds all):" in last[0]
    assert [line.split(":")[0] for line in last[1:]] == [f"  {spoilt / name}.jpg" for name in ("text", "truncated")]
    assert "Traceback" not in ended.err
    status = json.loads(Path("runs/spoilt2zebras/status.json").read_text())
    assert status["status"] == "failed"
    assert "2 of 7 pictures cannot be read" in status["reason"]


def test_a_folder_of_which_nothing_can_be_read_is_one_sentence(train: Program, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    _spoil(spoilt)
    (spoilt / "empty.png").write_bytes(b"")
    is_sentence(train("--a", spoilt), 1, f"picture in {spoilt} can be read")


def test_translate_lists_them_and_ends_with_3(program: Program, folder: Folder, tmp_path: Path) -> None:
    spoilt = folder("spoilt", 2, 40)
    _spoil(spoilt)
    model = generators_file(tmp_path / "model.safetensors")
    with untouched(spoilt):
        ended = program("translate", model, spoilt, "out", "--device", "cpu")
    assert (ended.code, ended.out) == (3, "translated 2 of 4 pictures to out, 2 failed\n")
    assert [line.split(": ")[0] for line in ended.err.splitlines()] == ["text.jpg", "truncated.jpg", "Error"]
    assert sorted(os.listdir("out")) == [".cyclegan", "000.png", "001.png"]


def test_data_check_lists_them_and_ends_with_3(program: Program, folder: Folder) -> None:
    spoilt = folder("spoilt", 2, 64)
    _spoil(spoilt)
    with untouched(spoilt):
        ended = program("data", "check", spoilt)
    assert ended.code == 3
    assert "text.jpg: not a picture" in ended.out
    assert "truncated.jpg: " in ended.out
    assert (ended.err.count("\n"), ended.err.startswith("Error: 1 problem found")) == (1, True)


@pytest.mark.slow
def test_grey_palette_transparent_and_cmyk_pictures_among_rgb_ones_work(
    train: Program, program: Program, folder: Folder
) -> None:
    mixed = folder("mixed", 2, 40)
    picture = Image.open(mixed / "000.png")
    for mode, name in (("L", "grey.png"), ("P", "palette.png"), ("RGBA", "clear.png"), ("CMYK", "print.jpg")):
        picture.convert(mode).save(mixed / name)
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(mixed / "deep.png")
    ended = train("--a", mixed, "--holdout", 0, "--steps", 7, "-o", "run")
    assert (ended.code, ended.out) == (0, "run\n"), ended.err
    assert "cannot be read" not in ended.err
    ended = program("translate", "run", mixed, "out", "--device", "cpu")
    assert (ended.code, ended.err, ended.out) == (0, "", "translated 7 of 7 pictures to out\n")
    assert sorted(os.listdir("out")) == sorted([".cyclegan", *os.listdir(mixed)])
