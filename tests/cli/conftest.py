"""The console command, run in this process and in a directory of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.cli import main

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
