"""What every test starts from: one thread, no server of any kind, no environment of the developer's."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; threads that wait for a busy core spin
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOT_QUICK = ("process", "slow", "long")  # marks of tests that `scripts/test --quick` leaves out
PROCESS_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
started: list[str] = []  # the processes that tests have started so far


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    # Every training run asks git for its commit, which takes a few milliseconds
    if event in PROCESS_EVENTS and arguments[:1] != ("git",):
        started.append(" ".join(map(str, (event, *arguments[:1]))))


def pytest_configure() -> None:
    """Take note of every process that is started from here on."""
    sys.addaudithook(_note)
    start = BaseProcess.start

    def noted(self: BaseProcess) -> None:
        started.append(f"multiprocessing {self.name}")  # a spawned one raises no audit event
        start(self)

    BaseProcess.start = noted  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Fail a test of the quick tier in whose fixtures a process starts."""
    yield from without_processes(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test of the quick tier that starts a process."""
    yield from without_processes(item)


def without_processes(item: pytest.Item) -> Iterator[None]:
    """Fail a test of the quick tier if a process starts until it is gone on with."""
    before = len(started)
    yield
    if len(started) > before and not any(item.get_closest_marker(name) for name in NOT_QUICK):
        pytest.fail(f"started {started[before:]}: mark it as `process`", pytrace=False)


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those that read by workers as `process`; put the longest first: at the end nobody waits for them alone."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and item.callspec.params.get("workers"):
            item.add_marker("process")
    items.sort(key=lambda item: (item.path.name != "test_engine.py", item.get_closest_marker("slow") is None))


def pytest_collection_finish() -> None:
    """Keep what is imported and collected by now from being gone through at each collection of garbage."""
    if build := sys.modules.get("cyclegan.networks.kernels.build"):
        build.load_kernels()  # where they are not built yet, a compiler is started: not in somebody's test
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries complain on the way out of what was not collected."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails there and then."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:  # type: ignore[index]
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CYCLEGAN_") or name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """`folder(name, count, size=16)` makes a folder of random pictures, the same for the same name."""

    def make(name: str, count: int, size: int = 16) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([ord(letter) for letter in name])
        for number in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"{number:03d}.png")
        return path

    return make
