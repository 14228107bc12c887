"""Scripts are short, and each says what it is for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.scripts.conftest import SCRIPTS

LONGEST = 150  # lines; what needs more lives in a package, benchmarks/ or tests/
LONGER: dict[str, int] = {}
PROGRAMS = [path for path in sorted(SCRIPTS.iterdir()) if path.is_file() and path.name != "environment"]  # is sourced


def test_a_script_is_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in PROGRAMS}
    assert not {name: length for name, length in lengths.items() if length > LONGER.get(name, LONGEST)}
    assert LONGER.keys() <= lengths.keys()
    assert all(lengths[name] > LONGEST for name in LONGER)


def test_nothing_but_scripts_lies_among_them() -> None:
    assert [path.name for path in SCRIPTS.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


@pytest.mark.process
def test_every_program_says_what_it_is_for_without_doing_it() -> None:
    commands = {path.name: [str(path)] if path.suffix != ".py" else [sys.executable, str(path)] for path in PROGRAMS}
    commands |= {name: [sys.executable, "-m", name] for name in ("tests.soak", "tests.fuzz", "benchmarks.experiments")}
    silent = []
    for name, command in commands.items():
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=SCRIPTS.parent, check=False)
        if done.returncode or len(done.stdout.split()) < 10:
            silent.append(f"{name}: {done.returncode} {done.stderr[-300:]}")
    assert not silent
