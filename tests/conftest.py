"""What every test starts from: one thread, no server of any kind, no environment of the developer's."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; threads that wait for a busy core spin
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: at the end nobody waits for them alone."""
    items.sort(key=lambda item: (item.path.name != "test_cluster.py", item.get_closest_marker("slow") is None))


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: not to be gone through at each collection of garbage."""
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
