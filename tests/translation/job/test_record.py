"""What a job remembers: what made its pictures, which are done, which failed, and whose it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import read_image
from cyclegan.translation import Summary, Translator, translate_folder
from cyclegan.translation.job.naming import Naming
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from tests.models.examples import generator
from tests.support.run_files import read_rows
from tests.translation.examples import Weighted, file_size_limit, files, fp32, picture, record


def _after(count: int) -> Callable[[int, int], None]:
    """Kills the job, as a signal would, when `count` pictures are done."""

    def stop(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return stop


def test_a_manifest_says_what_becomes_what_and_nothing_temporary_stays(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    run(negative, naming=Naming(".bmp"))
    manifest = read_rows(tmp_path / "out/.cyclegan/manifest.jsonl")
    assert manifest == [{"name": f"{number}.png", "target": f"{number}.bmp"} for number in range(8)]
    assert record(tmp_path / "out") == ["job.json", "lock", "manifest.jsonl"]


@pytest.mark.parametrize(
    ("options", "was"),
    [
        ({"naming": Naming(".bmp")}, "no --format"),
        ({"naming": Naming(suffix="x")}, "no --suffix"),
        ({"naming": Naming(flat=True)}, "no --flat"),
        ({"settings": TranslationSettings(PictureIO(size=3))}, "no --size"),
        ({"settings": TranslationSettings(PictureIO(quality=50))}, "--quality 95"),
        ({"settings": TranslationSettings(PictureIO(), tile=None)}, "--tile auto"),
        ({"settings": TranslationSettings(PictureIO(), overlap=8)}, "no --overlap"),
    ],
)
def test_other_options_do_not_mix_in_without_overwrite(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary], options: dict, was: str
) -> None:
    run(negative)
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match=f"were made with {was}; give --overwrite"):
        run(negative, **options)
    assert files(tmp_path / "out") == before
    assert run(negative, overwrite=True, **options).translated == 8
    assert run(negative, **options).skipped == 8


def test_another_model_does_not_mix_in_and_options_that_change_no_pixel_do_not_matter(
    tmp_path: Path, run: Callable[..., Summary]
) -> None:
    run(fp32(Weighted(1.0)))
    with pytest.raises(UsageError, match="were made with another MODEL; give --overwrite"):
        run(fp32(Weighted(0.5)))
    assert run(fp32(Weighted(1.0)), batch_size=3, png_level=9).skipped == 8


def test_the_precision_is_part_of_what_a_translation_was_made_with(tmp_path: Path, run: Callable[..., Summary]) -> None:
    run(Translator(generator(0), device="cpu", precision="fp32"))
    with pytest.raises(UsageError, match="--precision float32"):
        run(Translator(generator(0), device="cpu", precision="bf16"))


def test_files_without_a_record_are_not_taken_for_translations(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    picture(tmp_path / "out/3.png")
    picture(tmp_path / "out/other.png")
    with pytest.raises(UsageError, match=r"out has 3.png already, and no record of what made it; give --overwrite"):
        run(negative)
    assert files(tmp_path / "out") == ["3.png", "other.png"]
    assert run(negative, overwrite=True).translated == 8


@pytest.mark.parametrize("first", [False, True])
def test_a_job_that_overwrites_goes_on_where_it_was_killed(
    tmp_path: Path, run: Callable[..., Summary], first: bool
) -> None:
    if not first:
        run(fp32(Weighted(1.0)))
    new = fp32(Weighted(0.5))
    with pytest.raises(KeyboardInterrupt):
        run(new, overwrite=True, batch_size=1, on_progress=_after(3))
    again = run(new, overwrite=True)
    assert again.skipped >= 3
    assert again.translated == 8 - again.skipped
    assert all(
        np.allclose(
            read_image(tmp_path / f"out/{number}.png"),
            0.75 * 255 - read_image(tmp_path / f"in/{number}.png") / 2,
            atol=1,
        )
        for number in range(8)
    )
    assert run(new, overwrite=True).translated == 8  # it was at its end: now all is asked for once more


def test_until_a_job_that_overwrites_is_at_its_end_old_files_do_not_count(
    tmp_path: Path, run: Callable[..., Summary]
) -> None:
    old, new = fp32(Weighted(1.0)), fp32(Weighted(0.5))
    run(old)
    with pytest.raises(KeyboardInterrupt):
        run(new, overwrite=True, batch_size=1, on_progress=_after(3))
    with pytest.raises(UsageError, match="another MODEL"):
        run(old)
    assert run(new).translated <= 5
    assert run(new).skipped == 8


def test_a_mark_that_was_cut_off_does_not_count(tmp_path: Path, run: Callable[..., Summary]) -> None:
    new = fp32(Weighted(0.5))
    with pytest.raises(KeyboardInterrupt):
        run(new, overwrite=True, batch_size=1, on_progress=_after(3))
    marks = tmp_path / "out/.cyclegan/done.jsonl"
    whole = read_rows(marks)
    marks.write_text(marks.read_text()[:-3])
    with pytest.raises(KeyboardInterrupt):
        run(new, overwrite=True, batch_size=1, on_progress=_after(len(whole) - 1))
    assert run(new, overwrite=True).skipped >= len(whole) - 1


def test_what_failed_is_not_tried_again_unless_its_file_changes_or_it_is_asked_for(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    for name in ("x.png", "y.png"):
        (tmp_path / "in" / name).write_text("no picture")
    assert len(run(negative).failed) == 2
    failed = read_rows(tmp_path / "out/.cyclegan/failed.jsonl")
    assert [(row["path"], row["error"]) for row in failed] == [
        ("x.png", "UnreadableImage"),
        ("y.png", "UnreadableImage"),
    ]
    assert all(row["reason"].startswith("not a picture") for row in failed)
    again = run(negative)
    assert (again.translated, again.skipped, again.known, again.failed) == (0, 8, 2, [])
    assert read_rows(tmp_path / "out/.cyclegan/failed.jsonl") == failed
    picture(tmp_path / "in/x.png")
    changed = run(negative)
    assert (changed.translated, changed.skipped, changed.known) == (1, 8, 1)
    asked = run(negative, retry_failed=True)
    assert [name for name, _ in asked.failed] == ["y.png"]
    (tmp_path / "in/y.png").unlink()
    run(negative)
    assert "failed.jsonl" not in record(tmp_path / "out")  # what is gone is no failure any more


def test_strict_stops_at_the_first_failure(tmp_path: Path, negative: Translator, run: Callable[..., Summary]) -> None:
    (tmp_path / "in/0a.png").write_text("no picture")
    (tmp_path / "in/7a.png").write_text("no picture")
    summary = run(negative, strict=True, batch_size=1)
    assert summary.stopped
    assert [name for name, _ in summary.failed] == ["0a.png"]
    assert run(negative, strict=True).stopped  # the failure is known, and still one
    whole = run(negative)
    assert (whole.translated + whole.skipped, whole.known + len(whole.failed), whole.stopped) == (8, 2, False)


def test_a_link_in_the_destination_that_leads_out_is_refused(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    picture(tmp_path / "in/sub/x.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"DEST: .*out/sub is a link that leads out of .*; remove it"):
        run(negative, overwrite=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "out/sub").unlink()
    run(negative)
    (tmp_path / "precious.png").write_text("mine")
    (tmp_path / "out/0.png").unlink()
    (tmp_path / "out/0.png").symlink_to(tmp_path / "precious.png")
    run(negative, overwrite=True)  # a link in the place of a picture is replaced, and not what it points to
    assert (tmp_path / "precious.png").read_text() == "mine"
    assert not (tmp_path / "out/0.png").is_symlink()


def test_a_disk_too_full_for_the_record_is_a_sentence(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    run(negative)
    for name in files(tmp_path / "out"):
        (tmp_path / "out" / name).unlink()
    with file_size_limit(100), pytest.raises(CycleganError, match=r"DEST: cannot write to .* \(file too large\)"):
        run(negative)
    assert run(negative).translated == 8


def test_a_record_that_is_none_is_a_sentence(tmp_path: Path, negative: Translator, run: Callable[..., Summary]) -> None:
    run(negative)
    (tmp_path / "out/.cyclegan/job.json").write_text("{}")
    with pytest.raises(UsageError, match=r"job.json is not a record of a job; remove it"):
        run(negative)


def test_names_that_are_no_text_are_in_the_record_as_they_are(tmp_path: Path, negative: Translator) -> None:
    name = os.fsdecode(b"\xff\xfe\n.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("no picture")
    for _ in range(2):
        translate_folder(negative, tmp_path / "in", tmp_path / "out")
    row = json.loads((tmp_path / "out/.cyclegan/failed.jsonl").read_bytes())
    assert os.fsencode(row["path"]) == b"\xff\xfe\n.png"
