"""Files from anybody: whatever is in them, what comes out is a sentence, and nothing has been run, hung or eaten up.

`scripts/fuzz.py` tries the same for as long as one likes; what it finds lies in `corpus/` and is tried here first.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import TARGETS
from tests.fuzz.trying import attempt, known

FOUND = [pytest.param(name, path, id=f"{name}-{path.name[:8]}") for name in TARGETS for path in known(name)]


@pytest.mark.parametrize(("name", "path"), FOUND)
def test_what_once_came_through_is_refused_now(name: str, path: Path) -> None:
    attempt(name, path.read_bytes())


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
