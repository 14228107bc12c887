"""The trainer under test, as a process of its own, the place it writes to, and one attempt of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.judging import Broken, Missed, half_written, last_row, require, rows, status, temporaries, whole_states
from tests.soak.processes import command_line, descendants, parent, started, variables
from tests.soak.setting import ORPHAN_S, START_S, STATE_EVERY, Soak


@dataclass
class Attempt:
    """One start of the trainer in `run`, and what may be done to it."""

    soak: Soak
    run: Path
    log: Path
    wandb: bool = False
    options: Sequence[str] = ()  # more of them

    def __post_init__(self) -> None:
        self.rng = self.soak.rng
        self.small = self.run.parent.is_mount()
        self.gaps = False  # whether rows may be missing after it
        self.harmed = False  # whether states were taken from it on purpose
        self.acted = False  # whether the fault has happened
        self.mid_writing = False  # whether it was killed while it wrote a state
        self.lost: int | None = None  # steps that have to be computed again
        self.code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # The trainer

    def start(self) -> None:
        """Start it, with the states in `run` as they are now."""
        self.before = whole_states(self.run)[:1]
        self.rows_before = last_row(self.run)
        self._count = sum(1 for _ in rows(self.run))
        self.since = time.time()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*self.soak.command(self.run, wandb=self.wandb), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.soak.environment,
                cwd=self.soak.work,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        assert self._process is not None
        return self._process.poll() is not None

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def training(self) -> bool:
        """Whether it has come as far as to its steps."""
        return "resuming" in self.text or sum(1 for _ in rows(self.run)) > self._count

    def end(self, within: float) -> int:
        """Wait for its end, at most `within` seconds; the exit code, negative for a signal."""
        assert self._process is not None
        try:
            self.code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise Broken(f"still there after {within:g} s") from None
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal. `Missed` where it has ended already."""
        if self.over:
            raise Missed
        self.acted = True
        os.kill(self.pid, number)

    def kill(self, pid: int | None = None, whose: str = "its trainer was killed") -> None:
        """SIGKILL the trainer, or the process `pid`; what it has started must end by itself."""
        below = {child: started(child) for child in descendants(pid or self.pid)}
        if pid is None:
            self.send(signal.SIGKILL)
        else:
            self.acted = True
            os.kill(pid, signal.SIGKILL)
        self.soak.orphans.append((time.monotonic() + ORPHAN_S, below, whose))
        if pid is None and self.soak.nproc > 1:  # the trainers below it save, and hold the run until they have
            end = time.monotonic() + ORPHAN_S
            while any(started(child) == since for child, since in below.items()) and time.monotonic() < end:
                time.sleep(0.05)

    def children(self) -> list[int]:
        """The processes that read pictures."""
        ranks = self.ranks() if self.soak.nproc > 1 else [self.pid]
        below = [child for rank in ranks for child in descendants(rank)]
        return [pid for pid in below if not any(word in command_line(pid) for word in ("tracking", "wandb", "tracker"))]

    def ranks(self) -> list[int]:
        """The processes that compute, where there are several."""
        marked = [pid for pid in descendants(self.pid) if "RANK" in variables(pid)]
        return sorted(
            (pid for pid in marked if "RANK" not in variables(parent(pid))), key=lambda pid: int(variables(pid)["RANK"])
        )

    def followers(self) -> list[int]:
        """The processes of Weights & Biases."""
        return [pid for pid in descendants(self.pid) if "cyclegan.tracking" in command_line(pid)]

    # The moment

    def until(self, happened: Callable[[], object], limit: float, what: str) -> None:
        """Wait until something has `happened`; `Missed` when it ends before, `Broken` after `limit` seconds."""
        end = time.monotonic() + limit
        while not happened():
            if self.over:
                raise Missed
            require(time.monotonic() < end, f"{what} did not come within {limit:g} s")
            time.sleep(0.01)

    def pause(self, most: float) -> None:
        """Let some time pass, drawn evenly up to `most` seconds."""
        end = time.monotonic() + self.rng.uniform(0, most)
        while time.monotonic() < end and not self.over:
            time.sleep(0.005)

    def at_start(self) -> None:
        """Some moment between its start and its first steps, or soon after."""
        self.pause(10)

    def at_work(self) -> None:
        """Some moment of training."""
        self.until(lambda: self.training, START_S, "the first step")
        self.pause(3)

    def at_writing(self) -> None:
        """Some moment in which a state is being written."""
        self.at_work()
        folder = self.run / "checkpoints"
        end = time.monotonic() + 20
        while time.monotonic() < end and not self.over:
            if any(name.startswith(".tmp-") for name in os.listdir(folder)):
                break
            time.sleep(0.0003)
        time.sleep(self.rng.uniform(0, 0.004))

    def whenever(self) -> None:
        """One of the three above."""
        self.rng.choice((self.at_start, self.at_work, self.at_writing))()

    # What is held against it, whatever was done

    def judge(self) -> None:
        """`Broken` where something is wrong that no fault excuses."""
        after = whole_states(self.run)[:1]
        self.mid_writing = self.code == -signal.SIGKILL and half_written(self.run)
        if "resuming" in self.text and not self.harmed:
            require(f"at step {self.before[0] if self.before else -1} of" in self.text, f"not resumed at {self.before}")
        if self.before and not self.harmed:
            require(after >= self.before, f"the newest whole state was {self.before} and is {after}")
        unfinished = temporaries(self.run)
        before = [path for path in unfinished if path.lstat().st_mtime < self.since]
        if "resuming" in self.text or self.code == 0:  # what ended before may not have come as far as to remove any
            require(not before, f"left by an earlier attempt and not removed: {_names(before)}")
        if self.code is not None and self.code >= 0:
            own = [path for path in unfinished if path not in before]
            require(not own, f"left after a regular end: {_names(own)}")
            strays = [path for path in (self.soak.work / "tmp").rglob("*") if path.name.startswith(".tmp-")]
            require(not strays, f"left outside the run: {_names(strays)}")
        if self.training and not self.gaps and not self.harmed and last_row(self.run) > self.rows_before:
            self.lost = max(0, last_row(self.run) - max(after, default=0))
            # One interval computed, and one whose state is still on its way to the disk
            require(self.lost <= 2 * STATE_EVERY, f"{self.lost} steps lost, a state every {STATE_EVERY}")
        if self.training:
            require("Traceback" not in self.text, "a traceback")

    def preempted(self, number: signal.Signals) -> None:
        """Asked to stop: what was promised for that."""
        began = self.training
        code = self.end(within=30 + 5)
        if code == 0 or (code == -number and status(self.run) == "done"):
            raise Missed  # it was done at that moment
        if not began and not self.training:  # still starting: nothing was there to be saved
            return
        expected = 128 + number if self.soak.nproc == 1 else code
        require(code == expected, f"exit code {code}, not {expected}")
        require(status(self.run) == "preempted", f"status.json says {status(self.run)}")
        newest, last = whole_states(self.run)[:1], last_row(self.run)
        require(
            newest >= [last] or last <= max(0, self.rows_before),
            f"stopped after row {last}, the newest state is {newest}",
        )

    def failed_well(self, within: float) -> None:
        """Ended with a sentence and exit code 1, or 2 where it would not begin, or gone on."""
        code = self.end(within)
        require(code in (0, 1, 2), f"exit code {code}")
        require("Traceback" not in self.text, "a traceback")
        if code:
            require(self.text.rstrip().splitlines()[-1].startswith(("Error", "cyclegan")), "no sentence at the end")

    def stop_in_a_while(self, most: float = 3, *, badly: bool = False) -> None:
        """After a fault that it survives: let it work on, then end it as a person would. `badly`: it may have ended."""
        self.pause(most)
        if self.over:
            code = self.end(within=1)
            if badly:
                self.failed_well(within=1)
            elif code:
                raise Broken(f"ended with exit code {code}")
            return
        acted = self.acted
        self.send(signal.SIGTERM)
        self.acted = acted
        if badly:
            code = self.end(within=35)
            told = code == -signal.SIGTERM and (not self.training or self.ended_meanwhile())  # or still starting
            require(told or code in (0, 1, 128 + signal.SIGTERM), f"exit code {code}")
            require("Traceback" not in self.text, "a traceback")
            return
        with contextlib.suppress(Missed):  # it was done: all the better
            self.preempted(signal.SIGTERM)

    def ended_meanwhile(self) -> bool:
        """Whether it was on its way out when a signal came: its work was done, or its sentence said.

        Once the loop has ended, signals are again what they are for every program.
        """
        last = self.text.rstrip().splitlines()[-1:]
        return status(self.run) in ("failed", "done") or any(line.startswith("Error: ") for line in last)

    def put_down(self) -> None:
        """End it by force, with all that it has started."""
        assert self._process is not None
        below = descendants(self.pid) if not self.over else []
        for pid in (self.pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        self.code = self._process.wait()


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3])
