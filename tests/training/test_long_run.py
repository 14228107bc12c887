"""A long run: what it holds on to does not grow with its steps. Of the whole length: `python -m tests.soak --long`."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from cyclegan.training import train
from cyclegan.training.update.ema import EMA

WARM = 120
STEPS = 300
MOST_GROWTH = 4 * 2**20  # bytes; 23 kB a step, which is less than a row of figures with its tensors takes


class Held(NamedTuple):
    """What the process holds at one step."""

    resident: int  # bytes
    handles: int
    threads: int


def held() -> Held:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threading.active_count())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs the /proc of Linux")
def test_memory_handles_threads_and_files_are_the_same_after_many_steps(tmp_path, tiny, monkeypatch):
    seen: dict[int, Held] = {}
    update = EMA.update

    def noted(self: EMA, step: int) -> None:
        update(self, step)
        if step % 20 == 0:
            seen[step] = held()

    monkeypatch.setattr(EMA, "update", noted)
    small = {
        "channels": 1,
        "load_size": 9,
        "crop_size": 8,
        "discriminator": "pixel",
        "options": {"lambda_identity": 0.0},
    }
    run = train(tiny(steps=STEPS, log_every=10, state_every=30, sample_every=100, **small), tmp_path / "run")
    early, late = ([entry for step, entry in seen.items() if (step <= WARM) == first] for first in (True, False))
    assert max(entry.resident for entry in late) - max(entry.resident for entry in early) < MOST_GROWTH
    # A state that is on its way to the disk is a handle and a thread more for a moment
    assert max(entry.handles for entry in late) <= max(entry.handles for entry in early) + 2
    assert max(entry.threads for entry in late) <= max(entry.threads for entry in early) + 1

    rows = (run / "metrics.jsonl").read_bytes().splitlines()
    figures = STEPS // 10 + 2 * (STEPS // 100 + 1) + 1  # losses, two grids each time, the model
    assert figures <= len(rows) <= figures + 3  # and an alarm or two: three pixels of noise teach nothing
    assert max(map(len, rows)) < 2048
    assert len(list((run / "checkpoints").iterdir())) == 2 * 2 + 1  # two states with checksums, one model
