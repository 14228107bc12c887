"""What the shell scripts ask of the program, in an environment that is there already."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.data.demo.write import write_demo
from tests.scripts.conftest import SCRIPTS
from tests.test_docs import check_command

PACKAGE = SCRIPTS.parent

# Stands for the program: writes down what is asked of it, and makes the run directory that a training would make.
RECORDER = """#!/usr/bin/env bash
printf '%q ' "$(basename "$0")" "$@" >> "$LOG"
echo >> "$LOG"
while [ $# -gt 0 ]; do case "$1" in -o) mkdir -p "$2" ;; esac; shift; done
"""
# The program itself, but for a judge that learns in no time.
PROGRAM = f"""#!{sys.executable}
from cyclegan.evaluation.features import classifier_training, early_translations
classifier_training.STEPS, classifier_training.CHECK_EVERY = 4, 2
early_translations.STEPS, early_translations.CHANNELS = 4, 4
from cyclegan.cli import main
main()
"""
PYTHON = f"""#!/bin/sh
case "$*" in *pip*) echo "tried to install" >&2; exit 9 ;; esac
exec {sys.executable} "$@"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the scripts beside an environment that `scripts/test` has made."""
    project = tmp_path / "project"
    shutil.copytree(SCRIPTS, project / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE / "setup.cfg", project)
    (project / ".venv" / "bin").mkdir(parents=True)
    made_of = f"{sys.version} {sys.base_prefix}\n{project}\n{(project / 'setup.cfg').read_text()}"
    (project / ".venv" / ".installed[test]").write_text(made_of.rstrip("\n") + "\n")
    return project


def install(project: Path, name: str, text: str) -> None:
    path = project / ".venv" / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def ask(project: Path, script: str, *words: object) -> str:
    """Run a script to its end; what it has printed."""
    variables = {name: value for name, value in os.environ.items() if name != "VENV"}
    variables |= {"PYTHON": sys.executable, "PYTHONPATH": str(PACKAGE), "LOG": str(project / "log")}
    variables |= {"CYCLEGAN_CACHE": str(project / "cache"), "WANDB_MODE": "disabled", "CYCLEGAN_TRAIN_WORKERS": "0"}
    command = ["bash", str(project / "scripts" / script), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=variables, cwd=project.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def asked(project: Path) -> Callable[..., list[str]]:
    """`asked(script, …)` is what a script asks the program, as a shell would take it."""
    install(project, "cyclegan", RECORDER)
    install(project, "python", PYTHON)

    def record(script: str, *words: object) -> list[str]:
        (project / "log").unlink(missing_ok=True)
        ask(project, script, *words)
        return [shlex.join(shlex.split(line)) for line in (project / "log").read_text().splitlines()]

    return record


@pytest.mark.process
@pytest.mark.parametrize("words", [(), ("--small",), ("--full",), ("--small", "--steps", "4", "--device", "cpu")])
def test_the_reference_run_trains_translates_both_ways_measures_reports_and_judges(
    project: Path, asked: Callable[..., list[str]], words: tuple[str, ...]
) -> None:
    (project.parent / "my data").mkdir()
    commands = asked("horse2zebra.sh", "my data", "-o", "run", *words)
    assert [line.split()[1] for line in commands] == ["train", "translate", "translate", "evaluate", "report"]
    for line in commands:
        check_command(line)
    run = project.parent / "run"  # as it was typed: relative to where it was typed
    assert f"--data '{project.parent / 'my data'}' --preset" in commands[0]
    assert commands[0].endswith(" ".join([f"-o {run}", *words[1:]]))  # what is asked for comes last, and wins
    assert "testA" in commands[1]
    assert commands[1].endswith("--direction ab --overwrite")
    assert "testB" in commands[2]
    assert commands[2].endswith("--direction ba --overwrite")
    assert commands[3].startswith(f"cyclegan evaluate {run} --verdict --name a horses --name b zebras --longer ")


@pytest.mark.process
@pytest.mark.parametrize("words", [(), ("--smoke",), ("--steps", "100")])
def test_the_quickstart_draws_trains_translates_marks_measures_reports_and_judges(
    asked: Callable[..., list[str]], words: tuple[str, ...]
) -> None:
    commands = asked("quickstart", *words)
    steps = [" ".join(line.split()[1:3]) if " data " in line else line.split()[1] for line in commands]
    each_way = ["translate", "data demo-score", "data demo-score"]
    assert steps == ["data demo", "train", *each_way, *each_way, "evaluate", "report"]
    translations = [line.split() for line in commands if " translate " in line]
    assert [(words[3][-5:], words[6]) for words in translations] == [("testA", "ab"), ("testB", "ba")]
    for line in commands:
        check_command(line)
    assert "--verdict --name a 'plain animals' --name b 'striped animals' --score ab runs/" in commands[-2]


@pytest.mark.slow
@pytest.mark.long
def test_a_small_reference_run_ends_with_a_verdict_and_goes_on_where_it_stopped(project: Path) -> None:
    install(project, "cyclegan", PROGRAM)
    install(project, "python", PYTHON)
    data = project.parent / "horse2zebra"
    write_demo(data, count=10, test_count=3, size=32, seed=0)
    tiny = ("--channels", 2, "--load-size", 32, "--crop-size", 32, "--workers", 0, "--evaluate-every", 2)

    said = ask(project, "horse2zebra.sh", data, "--small", "-o", "run", "--steps", 4, *tiny)
    run = project.parent / "run"
    assert "Verdict: " in said
    assert f"{run}/report.html" in said
    assert (run / "report.html").stat().st_size > 1000
    for folder in ("zebras", "horses"):
        assert len(list((run / "translated" / folder).glob("*.png"))) == 3
    first = json.loads((run / "evaluation.json").read_text())
    assert first["protocol"]["checkpoint"]["step"] == 4
    assert "kid" in first["best"]

    said = ask(project, "horse2zebra.sh", data, "--small", "-o", "run", "--steps", 6, *tiny)
    assert "resuming" in said
    assert json.loads((run / "evaluation.json").read_text())["protocol"]["checkpoint"]["step"] == 6
