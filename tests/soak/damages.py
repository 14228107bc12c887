"""Harm to what lies on the disk between two attempts: the state before is taken, or none and never a fresh start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cyclegan.system.files import TEMPORARY_PREFIX
from tests.soak.judging import require, whole_states
from tests.soak.rig import Attempt
from tests.soak.setting import START_S


def truncated(attempt: Attempt) -> None:
    """The newest state is cut short."""
    _damaged(attempt, lambda path: os.truncate(path, attempt.rng.randrange(path.stat().st_size)))


def bit_flipped(attempt: Attempt) -> None:
    """One bit of the newest state is another one."""

    def flip(path: Path) -> None:
        with open(path, "r+b") as stream:
            place = attempt.rng.randrange(path.stat().st_size)
            stream.seek(place)
            value = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([value ^ 1 << attempt.rng.randrange(8)]))

    _damaged(attempt, flip)


def without_checksum(attempt: Attempt) -> None:
    """The checksum of the newest state is gone."""
    _damaged(attempt, lambda path: path.with_name(path.name + ".sha256").unlink())


def without_state(attempt: Attempt) -> None:
    """The newest state is gone, and its checksum is there."""
    _damaged(attempt, Path.unlink)


def all_damaged(attempt: Attempt) -> None:
    """No state is whole: exit code 1 and never a fresh start. Afterwards they come back from a copy."""
    folder, copy = attempt.run / "checkpoints", attempt.soak.work / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(TEMPORARY_PREFIX + "*"))
    try:
        for path in folder.glob("state-*.pt"):
            os.truncate(path, path.stat().st_size // 2)
        attempt.harmed = attempt.acted = True
        attempt.start()
        code = attempt.end(within=START_S)
        require(code == 1, f"exit code {code}")
        require("restore one from a copy" in attempt.text, "no sentence about a copy")
    finally:
        shutil.copytree(copy, folder, dirs_exist_ok=True)
        shutil.rmtree(copy)


def _damaged(attempt: Attempt, harm: Callable[[Path], object]) -> None:
    """Harm the newest state: the one before must be taken, and that said."""
    newest, before = whole_states(attempt.run)[:2]
    harm(attempt.run / "checkpoints" / f"state-{newest:08d}.pt")
    attempt.harmed = attempt.acted = True
    attempt.start()
    attempt.until(lambda: attempt.training, START_S, "the first step")
    require(f"at step {before} of" in attempt.text, f"it did not go on at step {before}")
    attempt.stop_in_a_while()
