"""What all attempts have in common: the command, its environment, the disks, and what may not outlive a trainer."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.judging import Broken
from tests.soak.processes import started

STATE_EVERY = 5
OPTIONS = (
    "--generator resnet_6blocks --channels 2 --dropout --ema-decay 0.99 --load-size 36 --crop-size 32 --device cpu "
    "--precision fp32 --compile off --cache ram --log-every 1 --sample-every 20 --samples 2 --evaluate-pictures 4 "
    f"--state-every {STATE_EVERY}"
).split()
START_S = 120  # for a start on a machine that has other things to do
ORPHAN_S = 90  # how long what a killed trainer has started may outlive it
ROOM = 96 * 2**20  # bytes of the small disk


@dataclass
class Soak:
    """What all attempts have in common."""

    work: Path  # scratch
    data: Path
    steps: int
    nproc: int
    mounts: bool  # whether small disks can be had
    rng: random.Random
    evaluate_every: int = 0
    orphans: list[tuple[float, dict[int, str], str]] = field(default_factory=list)

    def command(self, run: Path, *, wandb: bool = False) -> list[str]:
        """What trains in `run`, and goes on there."""
        many = ["--nproc", str(self.nproc)] if self.nproc > 1 else []
        words = [sys.executable, "-m", "cyclegan", "train", "--data", str(self.data), "-o", str(run), *OPTIONS]
        mode = "offline" if wandb else "disabled"
        # Ranks share the batch among them
        size = ["--batch-size", str(self.nproc), "--workers", "1"]
        looks = ["--evaluate-every", str(self.evaluate_every)]
        return [*words, *size, *looks, "--steps", str(self.steps), "--wandb", mode, *many]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the user's; what is temporary goes where it can be counted."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CYCLEGAN_", "WANDB_"))}
        return kept | {
            "OMP_NUM_THREADS": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "WANDB_ERROR_REPORTING": "false",
            "CYCLEGAN_CACHE": str(self.work / "cache"),
            "TMPDIR": str(self.work / "tmp"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    @contextlib.contextmanager
    def place(self, name: str, *, small: bool) -> Iterator[Path]:
        """A folder for a run; a `small` one is a disk of its own, of `ROOM` bytes."""
        folder = self.work / name
        folder.mkdir()
        if small:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], check=True)
        try:
            yield folder / "run"
        finally:
            if small:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)
            shutil.rmtree(folder)

    def judge_orphans(self) -> None:
        """`Broken` where something has outlived its killed trainer for too long; it is ended."""
        now, left = time.monotonic(), []
        for deadline, processes, whose in self.orphans:
            alive = {pid: name for pid, name in processes.items() if started(pid) == name}
            if alive and now < deadline:
                left.append((deadline, alive, whose))
            elif alive:
                for pid in alive:
                    os.kill(pid, signal.SIGKILL)
                self.orphans = [entry for entry in self.orphans if entry[0] > deadline]
                raise Broken(f"{len(alive)} processes were left for {ORPHAN_S} s after {whose}: {sorted(alive)}")
        self.orphans = left
