"""`cyclegan translate`, from the command line to the files."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from cyclegan.cli import cli
from cyclegan.cli.param_types import Memory
from cyclegan.images import encode_image, read_image
from cyclegan.translation import Summary, Translator
from cyclegan.translation.job.naming import Naming, Shard
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.value_scale import ValueScale
from tests.cli.program import invoke
from tests.models.examples import generator, generators_file, state, state_file
from tests.support.programs import modules_loaded_by

Folder = Callable[..., Path]


def _translate(*arguments: object) -> Result:
    return invoke("translate", *arguments, "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return generators_file(tmp_path / "model.safetensors")


def test_a_folder_is_translated_and_the_result_said_in_one_line(tmp_path: Path, model: Path, folder: Folder) -> None:
    result = _translate(model, folder("in", 3), tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"translated 3 of 3 pictures to {tmp_path / 'out'}\n"
    expected = Translator(generator(0), device="cpu", precision="fp32")(read_image(tmp_path / "in/001.png"))
    assert np.array_equal(read_image(tmp_path / "out/001.png"), expected)


def test_the_direction_chooses_the_generator(tmp_path: Path, model: Path, folder: Folder) -> None:
    assert _translate(model, folder("in", 1), tmp_path / "out", "--direction", "ba").exit_code == 0
    expected = Translator(generator(1), device="cpu", precision="fp32")(read_image(tmp_path / "in/000.png"))
    assert np.array_equal(read_image(tmp_path / "out/000.png"), expected)


@pytest.mark.parametrize("kind", ["run", "checkpoint"])
def test_a_run_and_a_checkpoint_are_models_too(tmp_path: Path, folder: Folder, kind: str) -> None:
    path = state_file(tmp_path / "run/checkpoints/state-00000007.pt", state(0))
    result = _translate(tmp_path / "run" if kind == "run" else path, folder("in", 1), tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/000.png").exists()


def test_failures_are_listed_and_end_in_exit_code_3(tmp_path: Path, model: Path, folder: Folder) -> None:
    pictures = folder("in", 2)
    (pictures / "bad\n.jpg").write_text("no picture")
    result = _translate(model, pictures, tmp_path / "out")
    assert result.exit_code == 3
    assert result.stdout == f"translated 2 of 3 pictures to {tmp_path / 'out'}, 1 failed\n"
    assert "bad\\n.jpg: not a picture" in result.stderr
    failed = tmp_path / "out/.cyclegan/failed.jsonl"
    assert result.stderr.endswith(f"Error: 1 of 3 pictures could not be translated, see {failed}\n")
    row = json.loads(failed.read_text())
    assert (row["path"], row["error"]) == ("bad\n.jpg", "UnreadableImage")
    assert row["reason"].startswith("not a picture")


def test_a_second_run_skips_and_says_how_not_to(tmp_path: Path, model: Path, folder: Folder) -> None:
    arguments = (model, folder("in", 2), tmp_path / "out")
    _translate(*arguments)
    assert "translated 0 of 2 pictures" in (again := _translate(*arguments)).stdout
    assert "2 were there already (--overwrite" in again.stdout
    assert "translated 2 of 2 pictures" in _translate(*arguments, "--overwrite", "--batch-size", 2).stdout


@pytest.mark.parametrize(("option", "wanted"), [([], None), (["--batch-size", "auto"], None), (["--batch-size", 3], 3)])
def test_the_batch_size_is_a_number_or_chosen(
    tmp_path: Path, model: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, option: list[str], wanted: int | None
) -> None:
    seen: list[int | None] = []

    def translate_folder(*arguments: object, settings: TranslationSettings, **options: object) -> Summary:
        seen.append(settings.batch_size)
        return Summary()

    monkeypatch.setattr("cyclegan.translation.translate_folder", translate_folder)
    assert _translate(model, folder("in", 1), tmp_path / "out", *option).exit_code == 0
    assert seen == [wanted]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_level_of_png_is_that_of_the_files(tmp_path: Path, model: Path, folder: Folder, level: int) -> None:
    assert _translate(model, folder("in", 1), tmp_path / "out", "--png-level", level).exit_code == 0
    written = tmp_path / "out/000.png"
    assert written.read_bytes() == encode_image(read_image(written), ".png", png_level=level)


def test_a_terminal_sees_how_far_it_is(
    tmp_path: Path, model: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    arguments = [str(model), str(folder("in", 2)), str(tmp_path / "out"), "--device", "cpu"]
    cli(["translate", *arguments], standalone_mode=False)
    assert "2/2" in terminal.getvalue()


@pytest.mark.process
def test_nothing_is_loaded_that_one_picture_does_not_need(tmp_path: Path, folder: Folder) -> None:
    # What is named here takes from a tenth of a second to several seconds to import; the model is as wide as the
    # quickest way to compute it asks for
    model = generators_file(tmp_path / "wide.safetensors", channels=16)
    code = (
        "from cyclegan.cli import cli\n"
        f"cli(['translate', {str(model)!r}, {str(folder('in', 1) / '000.png')!r}, {str(tmp_path / 'out.png')!r}, "
        "'--device', 'cpu'], standalone_mode=False)"
    )
    loaded = modules_loaded_by(code)
    assert (tmp_path / "out.png").exists()
    heavy = {"rich", "torchvision", "albumentations", "cv2", "scipy", "wandb", "yaml"}
    assert not loaded & (heavy | {"torch._dynamo", "torch._inductor", "sympy", "cyclegan.training", "cyclegan.data"})


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 2**30), ("500 MB", 500 * 2**20), ("1.5GiB", 3 * 2**29), ("7", 7)]
)
def test_memory_is_given_in_the_units_of_memory(text: str, size: int) -> None:
    assert Memory().convert(text, None, None) == size


def test_every_option_reaches_what_it_is_about(
    tmp_path: Path, model: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def translate_folder(translator: Translator, source: str, dest: Path, **options: object) -> Summary:
        seen.update(options, scales=translator.scales)
        return Summary()

    monkeypatch.setattr("cyclegan.translation.translate_folder", translate_folder)
    words = "--size 32 --tile 128 --overlap 16 --max-memory 1GB --max-pixels 99 --format JPG --suffix _z --flat"
    words += " --quality 80 --retry-failed --strict --shard 2/3 --engine ray --address auto --range minmax"
    assert _translate(model, folder("in", 1), tmp_path / "out", *words.split()).exit_code == 0
    settings, scales = seen.pop("settings"), seen.pop("scales")
    assert isinstance(settings, TranslationSettings)
    assert isinstance(scales, ValueScale)
    assert settings.io == PictureIO(size=32, max_pixels=99, quality=80)
    assert (settings.tile, settings.overlap, settings.max_memory, settings.model) == (128, 16, 2**30, str(model))
    assert (scales.source.text, scales.target, scales.dtype) == ("minmax", None, None)
    assert seen.pop("on_progress")
    assert seen == {
        "naming": Naming(".jpg", "_z", True),
        "shard": Shard(2, 3),
        "overwrite": False,
        "retry_failed": True,
        "strict": True,
        "engine": "ray",
        "address": "auto",
    }


def test_what_failed_before_is_counted_and_still_exit_code_3(tmp_path: Path, model: Path, folder: Folder) -> None:
    pictures = folder("in", 1)
    (pictures / "bad.png").write_text("no picture")
    _translate(model, pictures, tmp_path / "out")
    again = _translate(model, pictures, tmp_path / "out")
    assert again.exit_code == 3
    assert "1 failed before and were not tried again (--retry-failed tries them)" in again.stdout
    assert again.stderr.startswith("Error: 1 of 2 pictures could not be translated, see ")
    assert "bad.png: not a picture" in _translate(model, pictures, tmp_path / "out", "--retry-failed").stderr
    strict = _translate(model, pictures, tmp_path / "out", "--retry-failed", "--strict")
    assert strict.exit_code == 3
    assert strict.stderr.endswith("could not be translated, as --strict asks\n")


def test_a_list_on_stdin_is_translated(tmp_path: Path, model: Path, folder: Folder) -> None:
    names = "".join(f"{folder('in', 2)}/{number:03d}.png\n" for number in range(2))
    words = ["translate", str(model), "-", str(tmp_path / "out"), "--device", "cpu"]
    result = invoke(*words, input=names)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / str(tmp_path).lstrip("/") / "in/001.png").exists()


def test_the_size_is_that_of_the_shorter_side(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(encode_image(np.full((30, 60, 3), 99, np.uint8), ".png"))
    _translate(model, tmp_path / "in", tmp_path / "out", "--size", 16)
    assert read_image(tmp_path / "out/a.png").shape == (16, 32, 3)


@pytest.mark.slow
def test_in_tiles_it_comes_out_as_large_as_it_went_in(tmp_path: Path, model: Path, folder: Folder) -> None:
    result = _translate(model, folder("in", 2, 150), tmp_path / "out", "--tile", 64, "--overlap", 16)
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "out/001.png").shape == (150, 150, 3)


@pytest.mark.parametrize(
    ("model_name", "source", "dest", "options", "sentence"),
    [
        ("missing", "in", "out", [], "Error: MODEL: .* does not exist"),
        ("in", "in", "out", [], "Error: MODEL: .* is a folder, but not that of a run"),
        ("model.safetensors", "missing", "out", [], "Error: SOURCE: there is no"),
        ("model.safetensors", "in", "in", [], "Error: DEST: .* is SOURCE itself"),
        ("model.safetensors", "in", "out", ["--device", "toaster"], "Error: --device: unknown device 'toaster'"),
        (
            "model.safetensors",
            "in",
            "out",
            ["--direction", "up"],
            "--direction up: .* holds only ab and ba; ask for that",
        ),
        ("model.safetensors", "in", "out", ["--batch-size", "0"], "Invalid value for '--batch-size': 0 is less than 1"),
        ("model.safetensors", "in", "out", ["--batch-size", "all"], "'all' is neither auto nor a whole number"),
        ("model.safetensors", "in", "out", ["--png-level", "10"], "Invalid value for '--png-level'"),
        ("model.safetensors", "in", "out", ["--range", "wide"], "Error: --range wide: not a range"),
        ("model.safetensors", "in", "out", ["--tile", "8"], "Invalid value for '--tile': 8 is less than 64"),
        ("model.safetensors", "in", "out", ["--tile", "some"], "'some' is neither auto nor off nor a whole number"),
        ("model.safetensors", "in", "out", ["--max-memory", "much"], "'much' is not an amount of memory; write 500MB"),
        ("model.safetensors", "in", "out", ["--max-memory", "0"], "'0' is not an amount of memory"),
        ("model.safetensors", "in", "out", ["--shard", "4/3"], "'4/3' is not a part of a job; write 1/3"),
        ("model.safetensors", "in", "out", ["--shard", "half"], "'half' is not a part of a job"),
        ("model.safetensors", "in", "out", ["--format", "exe"], "Error: --format exe: unknown; use one of"),
        ("model.safetensors", "in", "out", ["--suffix", "a/b"], "Error: --suffix a/b: not valid in a file name"),
        ("model.safetensors", "in", "out", ["--quality", "0"], "Invalid value for '--quality'"),
        (
            "model.safetensors",
            "in",
            "out",
            ["--address", "auto"],
            "Error: --address: names a cluster; give --engine ray",
        ),
        ("model.safetensors", "in", "out.tar", [], "Error: DEST: .*out.tar: only an archive becomes an archive"),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tmp_path: Path, folder: Folder, model_name: str, source: str, dest: str, options: list[str], sentence: str
) -> None:
    folder("in", 1)
    arguments = [str(tmp_path / name) for name in (model_name, source, dest)]
    result = invoke("translate", *arguments, *options)
    assert result.exit_code == 2
    assert re.search(sentence, result.stderr)
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_exit_code_1(tmp_path: Path, model: Path, folder: Folder) -> None:
    model.write_bytes(model.read_bytes()[:-1])
    result = _translate(model, folder("in", 1), tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: MODEL: ")
    assert not (tmp_path / "out").exists()
