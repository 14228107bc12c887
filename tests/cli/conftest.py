"""The console command, run in this process and in a directory of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.cli import main
from cyclegan.evaluation.features import classifier_training, early_translations
from tests.evaluation.examples import script_file
from tests.models.examples import generators_file, state, state_file

pytest.register_assert_rewrite("tests.cli.program")

from tests.cli.program import TINY, Ended  # noqa: E402


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """`program(words…)` runs `cyclegan words…`; the working directory is empty at first."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    # `main` sets up the package's logger for the life of a process; a test is shorter than that
    logger = logging.getLogger("cyclegan")
    handlers, level = list(logger.handlers), logger.level

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cyclegan", *map(str, words)])
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            logger.handlers = list(handlers)
            logger.setLevel(level)
        return Ended(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def train(program: Callable[..., Ended], folder: Callable[..., Path]) -> Callable[..., Ended]:
    """`train(words…)` is one tiny step, on 5 pictures of A and 4 of B unless `--a` and `--b` are given."""

    def run(*words: object) -> Ended:
        given = [str(word) for word in words]
        standing = ["--a", str(folder("horses", 5, 40))] if "--a" not in given else []
        standing += ["--b", str(folder("zebras", 4, 40))] if "--b" not in given else []
        return program("train", *TINY, *standing, *given)

    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 7 steps that has its generators and its state, of random weights."""
    generators_file(tmp_path / "run/checkpoints/generators-00000007.safetensors")
    state_file(tmp_path / "run/checkpoints/state-00000007.pt", state())
    return tmp_path / "run"


@pytest.fixture
def short_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier is trained for four steps on translations of two, and kept for this test alone."""
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier_training, "STEPS", 4)
    monkeypatch.setattr(classifier_training, "CHECK_EVERY", 2)
    monkeypatch.setattr(early_translations, "STEPS", 4)
    monkeypatch.setattr(early_translations, "CHANNELS", 4)


@pytest.fixture
def features(tmp_path: Path) -> tuple[object, ...]:
    """The options of an extractor that is small and quick."""
    return "--features", script_file(tmp_path / "small.ts"), "--trust-features"
