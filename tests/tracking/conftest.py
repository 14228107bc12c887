"""A run directory, and a service that the real client finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_wandb import Service
from tests.tracking.sessions import use


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as service:
        use(service, tmp_path, monkeypatch)
        yield service
