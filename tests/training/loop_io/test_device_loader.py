"""What becomes of a run whose readers of pictures fail it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cyclegan.config import TrainConfig
from cyclegan.data import dataset
from cyclegan.errors import CycleganError
from cyclegan.images import Picture, read_picture
from cyclegan.training import train
from cyclegan.training.signals import Preempted
from cyclegan.training.storage.checkpoint import read_state
from tests.support.run_files import read_metrics, read_status

Tiny = Callable[..., TrainConfig]
STEPS = 6


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Path], None]) -> None:
    def read(path: Path, **options: int | None) -> Picture:
        fault(path)
        return read_picture(path, **options)

    monkeypatch.setattr(dataset, "read_picture", read)


def losses(run: Path) -> list[dict[str, float]]:
    rows = read_metrics(run)
    return [
        {name: value for name, value in row.items() if name.startswith(("loss/", "gradient_norm/"))} for row in rows
    ]


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / f"generators-{STEPS:08d}.safetensors").read_bytes()


@pytest.mark.process
def test_a_run_whose_readers_are_killed_and_hang_learns_the_same(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = train(tiny(steps=STEPS), tmp_path / "undisturbed")
    faults = {
        "001.png": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "003.png": lambda: time.sleep(1000),
    }

    def fault(path: Path) -> None:
        mark = tmp_path / path.name
        if path.name in faults and path.parent.name == "a" and not mark.exists():
            mark.touch()
            faults[path.name]()

    plant(monkeypatch, fault)
    run = train(tiny(steps=STEPS, workers=2, worker_timeout=1), tmp_path / "run")
    assert losses(run) == losses(undisturbed) != []
    assert weights(run) == weights(undisturbed)
    said = [message for message in caplog.messages if message.startswith("a reader of pictures")]
    assert len(said) == 2
    assert any("was killed by SIGKILL at" in message and "a/001.png" in message for message in said)
    assert any("made no progress for 1 s (--worker-timeout) at" in m and "a/003.png" in m for m in said)


@pytest.mark.process
def test_who_is_asked_to_stop_while_a_reader_hangs_saves_at_once(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(tiny(steps=STEPS), tmp_path / "undisturbed")
    trainer = os.getpid()

    def fault(path: Path) -> None:
        if path.name == "003.png" and path.parent.name == "a":
            rows = tmp_path / "run" / "metrics.jsonl"
            while not rows.exists() or "loss/cycle_a" not in rows.read_text():  # until there is a step
                time.sleep(0.02)
            time.sleep(0.5)
            os.kill(trainer, signal.SIGTERM)
            time.sleep(1000)

    with monkeypatch.context() as planted:
        plant(planted, fault)
        began = time.monotonic()
        with pytest.raises(Preempted, match=r"stopped by SIGTERM at step [1-9]"):
            train(tiny(steps=STEPS, workers=1), tmp_path / "run")
        assert time.monotonic() - began < 60
    status = read_status(tmp_path / "run")
    assert status["status"] == "preempted"
    assert read_state(tmp_path / f"run/checkpoints/state-{status['step']:08d}.pt")["step"] == status["step"]
    run = train(tiny(steps=STEPS), tmp_path / "run")
    assert losses(run) == losses(undisturbed)
    assert weights(run) == weights(undisturbed)


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_a_picture_breaks_ends_with_a_sentence_and_its_file(
    workers: int, tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(path: Path) -> None:
        if path.name == "003.png":
            raise ZeroDivisionError("a bug")

    plant(monkeypatch, fault)
    with pytest.raises(CycleganError, match=r"003\.png could not be made part of a batch \(ZeroDivisionError: a bug"):
        train(tiny(steps=STEPS, workers=workers), tmp_path / "run")
    status = read_status(tmp_path / "run")
    assert status["status"] == "failed"
    assert "003.png" in status["reason"]


@pytest.mark.slow
def test_a_planted_nan_is_counted_in_the_journal_and_reaches_no_weight(tmp_path: Path, tiny: Tiny) -> None:
    for name in "ab":
        (tmp_path / name).mkdir(exist_ok=True)
        for number in range(25):  # one in 25 is 4 %: the run goes on
            picture = np.random.default_rng([ord(name), number]).random((40, 40, 3), np.float32)
            if (name, number) == ("a", 7):
                picture[0, 0, 0] = np.nan
            np.save(tmp_path / name / f"{number}.npy", picture)
        for path in (tmp_path / name).glob("*.png"):
            path.unlink()
    run = train(tiny(steps=5, batch_size=5, log_every=5), tmp_path / "run")
    rows = read_metrics(run)
    (row,) = (row for row in rows if "health/unreadable_pictures" in row)
    assert row["health/unreadable_pictures"] == 1
    assert row["health/skipped_steps"] == 0
    assert all(np.isfinite(value) for value in row.values() if isinstance(value, float))
