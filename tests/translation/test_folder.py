"""Folders through a translator: every picture translated, skipped, or listed with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.errors import UsageError
from cyclegan.images import read_image
from cyclegan.translation import Translator, translate_folder
from tests.models.examples import generator
from tests.translation.examples import file_size_limit, files, picture, record

NAMES = ["plain.png", "with space.png", "ünïcødé 馬.png", "deep/er/still.bmp", "deep/UPPER.PNG", "x.tif"]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_tree_comes_out_as_it_went_in(tmp_path: Path, negative: Translator, batch_size: int) -> None:
    pictures = {name: picture(tmp_path / "in" / name, (5 + i % 2, 4), i) for i, name in enumerate(NAMES)}
    (tmp_path / "in/notes.txt").write_text("no picture")
    picture(tmp_path / "in/.hidden/thumb.png")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out", batch_size=batch_size)
    assert (summary.translated, summary.skipped, summary.failed) == (len(NAMES), 0, [])
    assert files(tmp_path / "out") == sorted(NAMES)
    for name, pixels in pictures.items():
        assert np.array_equal(read_image(tmp_path / "out" / name), 255 - pixels)


def test_the_suffix_decides_the_format_written(tmp_path: Path, negative: Translator) -> None:
    formats = {
        "a.png": "PNG",
        "b.jpg": "JPEG",
        "c.JPEG": "JPEG",
        "d.webp": "WEBP",
        "e.bmp": "BMP",
        "f.tiff": "TIFF",
        "g.gif": "GIF",
    }
    for name in formats:
        picture(tmp_path / "in" / name, (40, 40))
    assert translate_folder(negative, tmp_path / "in", tmp_path / "out").translated == len(formats)
    for name, kind in formats.items():
        with Image.open(tmp_path / "out" / name) as image:
            assert image.format == kind
            assert image.size == (40, 40)


def test_a_photograph_held_sideways_comes_out_upright(tmp_path: Path, negative: Translator) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored picture has to be turned clockwise to be seen
    pixels = picture(tmp_path / "in/a.png", (4, 9), exif=exif)
    translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert np.array_equal(read_image(tmp_path / "out/a.png"), 255 - np.rot90(pixels, -1))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_broken_files_are_listed_with_reasons_and_do_not_stop_the_others(
    tmp_path: Path, negative: Translator, batch_size: int
) -> None:
    for number in range(5):
        picture(tmp_path / f"in/{number}.jpg", (32, 32), number)
    (tmp_path / "in/1a.jpg").write_text("this is no JPEG")
    whole = (tmp_path / "in/2.jpg").read_bytes()
    (tmp_path / "in/sub").mkdir()
    (tmp_path / "in/sub/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/3a.png").write_bytes(b"")
    (tmp_path / "in/4a.png").symlink_to(tmp_path / "nowhere.png")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out", batch_size=batch_size)
    assert summary.translated == 5
    assert [name for name, _ in summary.failed] == ["1a.jpg", "3a.png", "4a.png", "sub/cut.jpg"]
    assert all(reason for _, reason in summary.failed)
    assert "empty" in summary.failed[1][1]
    assert files(tmp_path / "out") == [f"{number}.jpg" for number in range(5)]


def test_what_is_there_is_skipped_unless_it_is_to_be_overwritten(tmp_path: Path, negative: Translator) -> None:
    for number in range(3):
        picture(tmp_path / f"in/{number}.png", seed=number)
    translate_folder(negative, tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/0.png").unlink()
    (tmp_path / "out/1.png").write_text("mine")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.skipped) == (1, 2)
    assert (tmp_path / "out/1.png").read_text() == "mine"
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out", overwrite=True)
    assert (summary.translated, summary.skipped) == (3, 0)
    assert read_image(tmp_path / "out/1.png").shape == (6, 4, 3)


def test_a_job_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path, negative: Translator) -> None:
    for number in range(90):
        picture(tmp_path / f"in/{number:02d}.png", seed=number)

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_folder(negative, tmp_path / "in", tmp_path / "out", on_progress=stop)
    written = files(tmp_path / "out")
    assert 10 <= len(written) < 90
    assert all(read_image(tmp_path / "out" / name).shape == (6, 4, 3) for name in written)
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert (summary.skipped, summary.translated) == (len(written), 90 - len(written))


def test_an_output_inside_the_input_is_not_translated_again(tmp_path: Path, negative: Translator) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/outside/b.png")
    for _ in range(2):
        translate_folder(negative, tmp_path / "in", tmp_path / "in/out", overwrite=True)
    assert files(tmp_path / "in/out") == ["a.png", "outside/b.png"]


def test_an_output_that_is_the_input_is_refused(tmp_path: Path, negative: Translator) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for dest in ("in", "in/../in", "link"):
        with pytest.raises(UsageError, match=r"DEST: .* is SOURCE itself"):
            translate_folder(negative, tmp_path / "in", tmp_path / dest, overwrite=True)


def test_no_source_is_ever_replaced_by_a_translation(tmp_path: Path, negative: Translator) -> None:
    # in/in/a.png would be written to in/a.png, which is another of the pictures to translate
    pixels = picture(tmp_path / "in/a.png", seed=1)
    picture(tmp_path / "in/in/a.png", seed=2)
    with pytest.raises(UsageError, match="is itself one of the pictures"):
        translate_folder(negative, tmp_path / "in", tmp_path, overwrite=True)
    assert np.array_equal(read_image(tmp_path / "in/a.png"), pixels)


def test_a_single_picture_goes_to_a_file_or_into_a_folder(tmp_path: Path, negative: Translator) -> None:
    pixels = picture(tmp_path / "a b.png")
    picture(tmp_path / "camera.dat", format="PNG")
    (tmp_path / "there").mkdir()
    for source, dest, made in [
        ("a b.png", "new/zebra.bmp", "new/zebra.bmp"),
        ("a b.png", "folder", "folder/a b.png"),
        ("a b.png", "there", "there/a b.png"),
        ("camera.dat", "there", "there/camera.dat.png"),
    ]:
        summary = translate_folder(negative, tmp_path / source, tmp_path / dest)
        assert (summary.translated, summary.failed) == (1, [])
        assert np.array_equal(read_image(tmp_path / made), 255 - pixels)
    for dest in ("a b.png", "."):
        with pytest.raises(UsageError, match="is itself one of the pictures"):
            translate_folder(negative, tmp_path / "a b.png", tmp_path / dest, overwrite=True)


@pytest.mark.parametrize(
    ("source", "dest", "sentence"),
    [
        ("missing", "out", "SOURCE: there is no"),
        ("empty", "out", "SOURCE: there is no picture in .* read are .*png"),
        ("in", "run", "DEST: .* directory of a training run"),
        ("in", "file", "DEST: .* is a file, not a folder"),
        ("in/a.png", "file/deeper/b.png", "DEST: "),
    ],
)
def test_a_job_that_cannot_be_meant_is_refused_before_any_work(
    tmp_path: Path, negative: Translator, source: str, dest: str, sentence: str
) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=sentence):
        translate_folder(negative, tmp_path / source, tmp_path / dest)
    assert not (tmp_path / "out").exists()


def test_a_translation_that_cannot_be_written_is_listed(tmp_path: Path, negative: Translator) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/sub/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").write_text("a file where a folder has to be")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert summary.translated == 1
    assert [name for name, _ in summary.failed] == ["sub/b.png"]
    assert "cannot write" in summary.failed[0][1]


def test_a_full_disk_leaves_no_partial_picture_and_is_tried_again(tmp_path: Path, negative: Translator) -> None:
    picture(tmp_path / "in/large.png", (200, 200))  # of noise: no compression makes it small
    picture(tmp_path / "in/small.png")
    with file_size_limit(50_000):
        summary = translate_folder(negative, tmp_path / "in", tmp_path / "out")
    assert summary.failed == [("large.png", "cannot write it (file too large)")]
    assert files(tmp_path / "out") == ["small.png"]
    assert not [name for name in record(tmp_path / "out") if name.startswith("tmp")]
    again = translate_folder(negative, tmp_path / "in", tmp_path / "out")  # the file is not to blame
    assert (again.translated, again.skipped, again.failed) == (1, 1, [])
    assert "failed.jsonl" not in record(tmp_path / "out")


def test_pictures_of_many_sizes_come_out_each_in_its_own_and_reports_are_sorted(
    tmp_path: Path, negative: Translator
) -> None:
    pictures = {}
    for number in range(40):
        name = f"{number:02d}.png"
        pictures[name] = picture(tmp_path / "in" / name, (1 + number % 13, 1 + number % 7), number)
    for name in ("z.png", "05a.png"):
        (tmp_path / "in" / name).write_text("no picture")
    summary = translate_folder(negative, tmp_path / "in", tmp_path / "out", batch_size=3)
    assert summary.translated == 40
    assert [name for name, _ in summary.failed] == ["05a.png", "z.png"]
    for name, pixels in pictures.items():
        assert np.array_equal(read_image(tmp_path / "out" / name), 255 - pixels)


def test_the_level_of_png_changes_the_file_and_not_the_picture(tmp_path: Path, negative: Translator) -> None:
    pixels = np.repeat(np.kron(np.eye(8, dtype=np.uint8) * 200, np.ones((8, 8), np.uint8))[:, :, None], 3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for level in (0, 9):
        translate_folder(negative, tmp_path / "a.png", tmp_path / f"out{level}", png_level=level)
    plain, small = tmp_path / "out0/a.png", tmp_path / "out9/a.png"
    assert plain.stat().st_size > 64 * 64 * 3 > 10 * small.stat().st_size
    assert np.array_equal(read_image(plain), read_image(small))


def test_progress_counts_every_picture_once(tmp_path: Path, negative: Translator) -> None:
    for number in range(4):
        picture(tmp_path / f"in/{number}.png")
    translate_folder(negative, tmp_path / "in", tmp_path / "out")
    for number in (1, 2, 3):
        (tmp_path / f"out/{number}.png").unlink()
    (tmp_path / "in/bad.png").write_text("")
    seen: list[tuple[int, int]] = []
    translate_folder(negative, tmp_path / "in", tmp_path / "out", on_progress=lambda *now: seen.append(now))
    assert seen == [(count, 5) for count in range(1, 6)]


def test_a_picture_whose_channels_the_model_does_not_take_is_listed(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    translate = Translator(generator(in_channels=5, out_channels=5), device="cpu")
    summary = translate_folder(translate, tmp_path / "in", tmp_path / "out")
    assert summary.failed == [("a.png", "it has 3 channels and the model takes 5")]
