"""Training in several processes, from the command line: how it goes on, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.program import TINY
from tests.support.run_files import read_metrics, read_status
from tests.support.states import newest_state
from tests.training.distributed.test_ranks import ROOT, SECONDS

pytestmark = pytest.mark.slow

LONG = 2000  # steps that nobody waits for


class Job:
    """`cyclegan train` in two processes on pictures of this test, in the run directory `run`."""

    def __init__(self, run: Path, folders: dict[str, str], launcher: list[str] | None = None) -> None:
        self.run = run
        self.pictures = ["--a", folders["a"], "--b", folders["b"]]
        self.launcher = launcher or [sys.executable, "-m", "cyclegan"]
        self.own = ["--nproc", "2"] if launcher is None else []
        self.process: subprocess.Popen[str] | None = None

    def start(self, *words: object) -> Job:
        """Begin; words of the command line win over those of the smallest training."""
        smallest = [*TINY, "--log-every", "1", "--evaluate-every", "0", "--pool-size", "4", "--batch-size", "4"]
        self.process = subprocess.Popen(
            [*self.launcher, "train", *self.pictures, *smallest, "-o", str(self.run), *self.own, *map(str, words)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def processes(self) -> list[int]:
        """Those that train."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def wait_for_a_state(self) -> None:
        """Until there is one."""
        assert self.process is not None
        until = time.monotonic() + SECONDS
        while not list((self.run / "checkpoints").glob("state-*.pt")):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        assert self.process is not None
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def status(self) -> dict[str, object]:
        return read_status(self.run)  # type: ignore[no-any-return]


@pytest.fixture
def job(tmp_path: Path, folder: Callable[..., Path]) -> Iterator[Job]:
    folders = {"a": str(folder("a", 5, 40)), "b": str(folder("b", 4, 40))}
    made = Job(tmp_path / "run", folders)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


def sentence(err: str) -> str:
    """The only error that was said."""
    (line,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in err, err
    return line


def test_a_signal_to_one_stops_all_and_one_alone_goes_on_where_two_stopped(job: Job) -> None:
    job.start("--steps", LONG, "--state-every", 3).wait_for_a_state()
    os.kill(job.processes()[1], signal.SIGTERM)
    code, out, err = job.end()
    assert (code, out) == (128 + signal.SIGTERM, "")
    assert "stopped by SIGTERM" in sentence(err)
    status = job.status()
    assert status["status"] == "preempted"
    stopped = int(str(status["step"]))
    assert newest_state(job.run)["step"] == stopped
    assert newest_state(job.run)["processes"] == 2
    assert sum(len(lane) for lane in [newest_state(job.run)["method"]["pools.a._extra_state"]["stored"]]) == 4

    job.own = []
    code, out, err = job.start("--steps", stopped + 2).end()
    assert (code, out.strip()) == (0, str(job.run)), err
    assert "was saved by 2 processes and goes on with 1" in err
    assert [row["step"] for row in read_metrics(job.run) if "loss/cycle_a" in row] == list(range(1, stopped + 3))


def test_one_that_is_killed_ends_the_others_in_a_sentence_with_the_last_state_good(job: Job) -> None:
    job.start("--steps", LONG, "--state-every", 2, "--timeout", 20).wait_for_a_state()
    killed, others = job.processes()[1], job.processes()[:1]
    os.kill(killed, signal.SIGKILL)
    code, out, err = job.end()
    assert (code, out) == (1, "")
    assert "process 1 of 2 was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
    assert job.status()["status"] == "failed"
    assert newest_state(job.run)["step"] % 2 == 0


def test_when_the_launcher_is_killed_its_processes_save_and_end(job: Job) -> None:
    job.start("--steps", LONG, "--state-every", 1000)
    until = time.monotonic() + SECONDS
    while not (job.run / "metrics.jsonl").exists() or not read_metrics(job.run):
        assert time.monotonic() < until
        time.sleep(0.05)
    trained = job.processes()
    assert job.process is not None
    job.process.kill()
    job.process.wait()
    while any(Path(f"/proc/{pid}/stat").exists() and _lives(pid) for pid in trained):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert job.status()["status"] == "preempted"
    assert newest_state(job.run)["step"] == job.status()["step"]


def test_when_the_launcher_is_killed_before_they_have_begun_they_end_too(job: Job) -> None:
    job.start("--steps", LONG)
    assert job.process is not None
    until = time.monotonic() + SECONDS
    while len(started := job.processes()) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    job.process.kill()  # while they import what they need
    job.process.wait()
    while any(Path(f"/proc/{pid}/stat").exists() and _lives(pid) for pid in started):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not (job.run / "checkpoints").exists()


def test_torchrun_starts_them_again_and_they_go_on(tmp_path: Path, job: Job) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    job.launcher, job.own = [*torchrun, "--max-restarts", "1", "-m", "cyclegan"], []
    job.start("--steps", 12, "--state-every", 2).wait_for_a_state()
    os.kill(job.processes()[0], signal.SIGKILL)
    code, out, err = job.end()
    assert (code, out.split()) == (0, [str(job.run)]), err
    assert "resuming" in err
    assert job.status()["status"] == "done"
    assert [row["step"] for row in read_metrics(job.run) if "loss/cycle_a" in row] == list(range(1, 13))


@pytest.mark.long
def test_what_cannot_be_is_said_once_and_ends_as_it_would_alone(job: Job) -> None:
    code, out, err = job.start("--batch-size", 3).end()
    assert (code, out) == (2, "")
    assert "--batch-size 3 counts the pictures of all processes, and does not divide among 2" in sentence(err)
    assert not job.run.exists()


def _lives(pid: int) -> bool:
    """Whether that process is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
