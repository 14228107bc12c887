"""Files from anybody: whatever is in them, what comes out is a sentence, and nothing has been run, hung or eaten up.

`python -m tests.fuzz` tries the same for as long as one likes; what it finds lies in `corpus/` and is tried here first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import TARGETS
from tests.fuzz.trying import attempt, known

# A reader that trips over four bytes and more, in place of all others
PLANTED = """
from hypothesis import strategies as st
from tests.fuzz.__main__ import TARGETS, main
from tests.fuzz.targets import Target

def trip(data, folder):
    if len(data) > 3:
        raise ValueError("it came through")

TARGETS.clear()
TARGETS["planted"] = Target(trip, st.binary, 1)
raise SystemExit(main())
"""
FOUND = [pytest.param(name, path, id=f"{name}-{path.name[:8]}") for name in TARGETS for path in known(name)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "path"), FOUND)
def test_what_once_came_through_is_refused_now(name: str, path: Path) -> None:
    attempt(name, path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_spoilt_files_end_in_a_sentence(name: str) -> None:
    @settings(
        max_examples=TARGETS[name].in_ci,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(TARGETS[name].inputs())
    def spoilt(data: bytes) -> None:
        attempt(name, data)

    spoilt()


@pytest.mark.slow
def test_what_comes_through_is_made_small_kept_and_told_by_the_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLANTED, "--minutes", "0.02", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [path.read_bytes() for path in (tmp_path / "planted").iterdir()] == [bytes(4)]
    assert "ValueError: it came through" in done.stdout
