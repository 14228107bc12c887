"""Sessions with the real client, and the commands that follow them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan.tracking import Tracker, open_tracker
from tests.fake_wandb import Service

ID = "abcd1234"


def use(service: Service, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.environment(home).items():
        monkeypatch.setenv(name, value)


def track(run: Path, mode: str, *, resumed: bool = False, deadline: float = 40.0) -> Tracker:
    config = {"lr_generator": 2e-4, "resumed": resumed}
    return open_tracker(
        run, mode=mode, project="cyclegan", config=config, resumed=resumed, run_id=ID, name="h2z", deadline=deadline
    )


def shell(command: str) -> str:
    """Run a command we printed, with this Python for the one on the path."""
    python = shlex.quote(sys.executable)
    command = command.replace("wandb sync", f"{python} -m wandb sync").replace(
        "cyclegan sync", f"{python} -m cyclegan sync"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
