import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.program import invoke
from tests.support.programs import modules_loaded_by

Folder = Callable[..., Path]


def test_folders_in_order_end_with_exit_code_0(folder: Folder) -> None:
    result = invoke("data", "check", folder("horses", 3, size=80), folder("zebras", 2, size=70))
    assert result.exit_code == 0
    assert "horses: 3 pictures" in result.stdout
    assert "70 to 70 pixels, median 70" in result.stdout
    assert result.stdout.endswith("no problems found\n")
    assert result.stderr == ""


def test_problems_end_with_exit_code_3_after_the_whole_report(folder: Folder) -> None:
    path = folder("horses", 3, size=40)
    (path / "[red]text.jpg").write_text("dear diary")
    (path / "again.png").write_bytes((path / "000.png").read_bytes())
    result = invoke("data", "check", path)
    assert result.exit_code == 3
    assert "[red]text.jpg: not a picture" in result.stdout
    assert "000.png: 40×40" in result.stdout
    assert f"{path}/000.png = {path}/again.png" in result.stdout
    assert result.stderr.startswith("Error: 3 problems found: ")
    assert result.stderr.count("\n") == 1


def test_the_smallest_size_is_an_option(folder: Folder) -> None:
    path = folder("horses", 3, size=40)
    assert invoke("data", "check", path, "--min-size", 40).exit_code == 0
    assert invoke("data", "check", path, "--min-size", 0).exit_code == 2


def test_json_is_for_machines_and_complete(folder: Folder) -> None:
    path = folder("horses", 30, size=40)
    result = invoke("data", "check", path, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert len(report["folders"][0]["small"]) == 30
    assert len(report["problems"]) == 1
    assert "… and 10 more" in invoke("data", "check", path).stdout


def test_what_is_no_folder_ends_with_exit_code_2(tmp_path: Path) -> None:
    result = invoke("data", "check", tmp_path / "gone")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert invoke("data", "check").exit_code == 2


@pytest.mark.process
def test_checking_needs_neither_torch_nor_albumentations() -> None:
    loaded = modules_loaded_by("import cyclegan.cli.data.check, cyclegan.data.check")
    assert "cyclegan.data.check" in loaded
    assert not {"torch", "albumentations"} & loaded


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse names that are no text")
def test_names_that_are_no_text_do_not_stop_the_report(folder: Folder) -> None:
    path = folder("horses", 2, size=80)
    Path(os.fsdecode(os.fsencode(path) + b"/caf\xe9.png")).write_text("dear diary")
    for arguments in ((path,), (path, "--json")):
        result = invoke("data", "check", *arguments)
        assert result.exit_code == 3
        assert "caf\\udce9.png" in result.stdout


def test_what_kinds_of_pictures_there_are_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "deep.npy", np.full((80, 80), 700, np.uint16))
    Image.new("RGBA", (80, 80), (1, 2, 3, 4)).save(tmp_path / "clear.png")
    shown = invoke("data", "check", tmp_path).stdout
    for words in (
        "depths   8-bit 1, 16-bit 1",
        "channels 3 1, 1 1",
        "numbers  700 to 700 (16-bit)",
        "1 with transparent pixels",
        "with --range full each is shown by its own depth",
        "together (deep.npy, clear.png): training shows grey as RGB",
    ):
        assert words in shown
    (found,) = json.loads(invoke("data", "check", tmp_path, "--json").stdout)["folders"]
    assert found["channels"] == {"3": 1, "1": 1}
    assert found["ranges"]["16-bit"] == [700, 700]
    assert len(found["mixes"]) == 2
