"""What was reported as saved is there after a power cut: every file is synced, then named, then its name is synced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from cyclegan.system.files import TEMPORARY_PREFIX, make_folder, write_json
from cyclegan.training.signals import StopRequest
from cyclegan.training.storage.async_saver import AsyncSaver
from cyclegan.training.storage.checkpoint import States
from tests.models.examples import generators

# What a save comes to, a line for each call of the system that matters, by the names in the run directory
SAVED = [
    line
    for folder, name in (
        ("checkpoints", "checkpoints/state-00000003.pt.sha256"),
        ("checkpoints", "checkpoints/state-00000003.pt"),
        ("checkpoints", "checkpoints/generators-00000003.safetensors"),
        (".", "status.json"),
    )
    for line in (f"sync temporary of {folder}", f"name {name}", f"sync {folder}")
]


class Directory:
    """A run directory that writes its status as the real one does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def status(self, status: str, step: int) -> None:
        write_json(self.path / "status.json", {"status": status, "step": step})


class Tracker:
    """Told nothing."""

    def model(self, step: int, path: Path) -> None:
        raise AssertionError(f"nothing was to be said of {path} at {step}")


def save(run: Path) -> None:
    """Save step 3 of something tiny in `run`, on the saver's thread."""
    (run / "checkpoints").mkdir()
    torch.manual_seed(0)
    with AsyncSaver(
        Directory(run), States(run / "checkpoints"), Tracker(), nn.ModuleDict(generators()), {},  # type: ignore[arg-type]
        every=0, step=0, stop=StopRequest(),
    ) as saver:  # fmt: skip
        saver.save(3, about={}, final=False, net=nn.Linear(2, 2))


def told(run: Path, path: str) -> str:
    """`path` by its name in `run`."""
    name = os.path.relpath(path, run)
    return f"temporary of {os.path.dirname(name) or '.'}" if TEMPORARY_PREFIX in name else name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls of fsync and replace from here on, with the file that each is about."""
    made: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    real_open, real_sync, real_replace = os.open, os.fsync, os.replace

    def remembered(path: str, *arguments: int, **options: int) -> int:
        handle = real_open(path, *arguments, **options)
        opened[handle] = os.fspath(path)
        return handle

    def sync(handle: int) -> None:
        real_sync(handle)
        made.append(("sync", opened[handle]))

    def replace(old: str, new: str) -> None:
        real_replace(old, new)
        made.append(("name", os.fspath(new)))

    monkeypatch.setattr(os, "open", remembered)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    return made


def test_each_file_is_synced_before_it_is_named_and_its_name_before_anything_is_said_of_it(tmp_path, calls):
    save(tmp_path)
    assert [f"{what} {told(tmp_path, path)}" for what, path in calls] == SAVED


def test_the_way_to_a_new_run_is_synced_too(tmp_path, calls):
    make_folder(tmp_path / "runs" / "a2b", "-o")
    assert [path for what, path in calls if what == "sync"] == [str(tmp_path / "runs"), str(tmp_path)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_so_it_is_in_the_eyes_of_the_system(tmp_path):
    trace = tmp_path / "trace"
    run = tmp_path / "run"
    run.mkdir()
    program = f"from pathlib import Path\nfrom tests.training.test_durability import save\nsave(Path({str(run)!r}))\n"
    seen = "fsync,fdatasync,rename,renameat,renameat2"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-y", "-e", f"trace={seen}", "-o", trace, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if "ptrace" in done.stderr.lower() and done.returncode != 0:
        pytest.skip(f"this system allows no tracing: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in trace.read_text().splitlines() if str(run) in line]
    assert [event(run, line) for line in lines] == SAVED
    assert all(line.endswith("= 0") for line in lines), lines


def event(run: Path, line: str) -> str:
    """A line of strace in the words of `SAVED`."""
    if synced := re.search(r"f(?:data)?sync\(\d+<(.*?)>\)", line):
        return f"sync {told(run, synced[1])}"
    renamed = re.findall(r'"(.*?)"', line)
    assert len(renamed) == 2, line
    return f"name {told(run, renamed[1])}"


def test_a_thread_that_saves_is_no_thread_that_is_left(tmp_path):
    save(tmp_path)
    assert "saving" not in [thread.name for thread in threading.enumerate()]
