"""Where a run is and what time it is there makes no difference: it ends with the bytes of a run in a plain place."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.system.files import file_sha256
from tests.cli.program import TINY, Ended
from tests.support.run_files import read_metrics

Folder = Callable[..., Path]
Program = Callable[..., Ended]

# A training, its resumption and a translation, one after the other in one process, which takes torch's import once
COMMANDS = """
import json, os, sys
from cyclegan.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["cyclegan", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def commands(a: str, b: str, run: str, out: str) -> list[list[str]]:
    """Three steps in two starts, and what they make of A."""
    often = ["--sample-every", "1", "--log-every", "1", "--evaluate-every", "0"]
    train = ["train", *TINY, "--a", a, "--b", b, "-o", run, *often]
    return [train, [*train, "--steps", "3"], ["translate", run, a, out, "--device", "cpu", "--precision", "fp32"]]


def results(run: Path, out: Path) -> dict[str, str]:
    """Digests of what was learned, drawn and translated."""
    made = [run / "checkpoints/generators-00000003.safetensors", *run.glob("samples/*"), *out.glob("*.png")]
    assert len(made) == 1 + 2 * 4 + 5, made
    return {path.name: file_sha256(path) for path in made}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    root = tmp_path_factory.mktemp("pictures")
    for name, count in (("horses", 5), ("zebras", 4)):
        (root / name).mkdir()
        for number in range(count):
            noise = hashlib.shake_256(f"{name}{number}".encode()).digest(40 * 40 * 3)
            Image.frombytes("RGB", (40, 40), noise).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def plain(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The results in an ordinary place."""
    root = tmp_path_factory.mktemp("plain")
    child(commands(str(pictures / "horses"), str(pictures / "zebras"), str(root / "run"), str(root / "out")))
    return results(root / "run", root / "out")


def child(words: list[list[str]], *, before: str = "", without: tuple[str, ...] = (), **variables: str) -> str:
    """Run the commands in a process of its own, after the Python of `before`; what it said. It must end well."""
    environment = {name: value for name, value in os.environ.items() if name not in without} | variables
    done = subprocess.run(
        [sys.executable, "-c", before + COMMANDS, json.dumps(words)],
        capture_output=True,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2]), "WANDB_MODE": "disabled"},
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return done.stdout.decode(errors="replace")


@pytest.mark.slow
def test_an_odd_time_zone_the_plainest_locale_and_no_home(
    pictures: Path, plain: dict[str, str], tmp_path: Path
) -> None:
    words = commands(str(pictures / "horses"), str(pictures / "zebras"), str(tmp_path / "run"), str(tmp_path / "out"))
    without = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LANG", "LANGUAGE", "USER", "LOGNAME")
    child(words, without=without, TZ="ODD-13:37", LC_ALL="C")
    assert results(tmp_path / "run", tmp_path / "out") == plain


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no bytes that are no text for a name")
def test_names_that_are_no_text_and_a_home_that_cannot_be_written_to(
    pictures: Path, plain: dict[str, str], tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"Z\xc3\xbcge, \"a\" 'b'\n\xff$HOME %s * [x]")
    odd.mkdir()
    for name in ("horses", "zebras"):
        (odd / name).symlink_to(pictures / name, target_is_directory=True)
    words = commands(str(odd / "horses"), str(odd / "zebras"), str(odd / "run"), str(odd / "out"))
    # A file in place of the home folder can be written into by nobody, not even by root
    (tmp_path / "home").write_text("")
    child(words, without=("XDG_CACHE_HOME",), HOME=str(tmp_path / "home"), CYCLEGAN_CACHE="")
    assert results(odd / "run", odd / "out") == plain
    assert b"\\udcff" in (odd / "run/meta.json").read_bytes()


@pytest.mark.slow
def test_a_working_directory_that_is_gone(pictures: Path, plain: dict[str, str], tmp_path: Path) -> None:
    words = commands(str(pictures / "horses"), str(pictures / "zebras"), str(tmp_path / "run"), str(tmp_path / "out"))
    gone = "import os, tempfile\nhere = tempfile.mkdtemp()\nos.chdir(here)\nos.rmdir(here)\n"
    child(words, before=gone)
    assert results(tmp_path / "run", tmp_path / "out") == plain


@pytest.mark.slow
def test_a_clock_that_jumps_back_a_day_in_mid_run(
    program: Program, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = folder("horses", 5, 40), folder("zebras", 4, 40)
    for words in commands(str(a), str(b), str(tmp_path / "plain"), str(tmp_path / "plain-out")):
        assert program(*words).code == 0
    now = time.time
    asked = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() - 86_400 * (next(asked) // 3 % 2))  # there and back, and again
    for words in commands(str(a), str(b), str(tmp_path / "run"), str(tmp_path / "out")):
        assert program(*words).code == 0
    assert next(asked) > 6
    assert results(tmp_path / "run", tmp_path / "out") == results(tmp_path / "plain", tmp_path / "plain-out")
    rows = read_metrics(tmp_path / "run")
    steps = [row["step"] for row in rows if "loss/generator" in row or any(name.startswith("loss") for name in row)]
    assert steps == [1, 2, 3]
    assert program("report", tmp_path / "run").code == 0
