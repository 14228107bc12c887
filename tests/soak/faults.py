"""What may happen to a trainer. Each fault starts it, does its harm, and holds the promise against what came of it.

A fault is a function of one attempt that is not started yet, so that it may also harm what lies on the disk before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.soak import damages
from tests.soak.judging import Broken, Missed, require, whole_states
from tests.soak.rig import Attempt
from tests.soak.setting import START_S

END_S = 240  # for a run that goes on undisturbed


@dataclass(frozen=True)
class Fault:
    """A name for the table, what is done, how often among the others, and where."""

    do: Callable[[Attempt], None]
    weight: int = 1
    only_small: bool = False  # only where the run has a small disk to itself
    only_many: bool = False  # only where several processes train
    two_states: bool = False  # only where two whole states are there to choose from
    wandb: bool = False


def killed(attempt: Attempt) -> None:
    """SIGKILL of the trainer."""
    attempt.start()
    attempt.whenever()
    attempt.kill()
    attempt.end(within=20)


def asked_to_stop(number: signal.Signals, attempt: Attempt) -> None:
    """A signal that asks it to stop."""
    attempt.start()
    attempt.whenever()
    attempt.send(number)
    attempt.preempted(number)


def asked_twice(attempt: Attempt) -> None:
    """Ctrl-C, and again."""
    attempt.start()
    attempt.at_work()
    attempt.send(signal.SIGINT)
    attempt.pause(0.05)
    if not attempt.over:
        attempt.send(signal.SIGINT)
    code = attempt.end(within=10)
    require(code in (0, 128 + signal.SIGINT), f"exit code {code}")


def suspended(attempt: Attempt) -> None:
    """Stood still for some seconds, as a laptop does that is closed."""
    attempt.start()
    attempt.whenever()
    attempt.send(signal.SIGSTOP)
    time.sleep(attempt.rng.uniform(0.5, 6))
    attempt.send(signal.SIGCONT)
    attempt.stop_in_a_while()


def worker_killed(attempt: Attempt) -> None:
    """A process that reads pictures is killed, as by a kernel without memory."""
    attempt.start()
    attempt.at_work()
    attempt.until(attempt.children, START_S, "a data worker")
    _kill_one(attempt, attempt.children())
    attempt.stop_in_a_while(8)


def worker_stopped(attempt: Attempt) -> None:
    """A process that reads pictures hangs for some seconds."""
    attempt.start()
    attempt.at_work()
    attempt.until(attempt.children, START_S, "a data worker")
    try:
        pid = attempt.rng.choice(attempt.children())
    except IndexError:
        raise Missed from None  # it has ended meanwhile
    attempt.acted = True
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(attempt.rng.uniform(0.5, 6))
        os.kill(pid, signal.SIGCONT)
    attempt.stop_in_a_while()


def rank_killed(attempt: Attempt) -> None:
    """One of several trainers is killed: all end, none of them well."""
    attempt.start()
    attempt.whenever()
    attempt.until(attempt.ranks, START_S, "a rank")
    _kill_one(attempt, attempt.ranks())
    code = attempt.end(within=120)
    require(code != 0, "exit code 0")


def disk_full(attempt: Attempt) -> None:
    """The disk is full for some seconds: it goes on, or ends with a sentence."""
    attempt.gaps = True
    attempt.start()
    attempt.whenever()
    with _ballast(attempt.run.parent / "ballast"):
        attempt.acted = True
        attempt.pause(6)
    attempt.stop_in_a_while(badly=True)


def quota(attempt: Attempt) -> None:
    """No file may grow beyond some kilobytes for some seconds."""
    attempt.gaps = True
    attempt.start()
    attempt.at_work()
    many = (attempt.ranks() or [attempt.pid])[0]
    try:
        limit = resource.prlimit(many, resource.RLIMIT_FSIZE, (attempt.rng.randrange(1, 2**16), resource.RLIM_INFINITY))
        attempt.acted = True
        attempt.pause(6)
        resource.prlimit(many, resource.RLIMIT_FSIZE, limit)
    except ProcessLookupError:
        pass  # it has ended, as it may
    attempt.stop_in_a_while(badly=True)


def read_only(attempt: Attempt) -> None:
    """Nothing may be made in the run's folders for some seconds."""
    attempt.gaps = True
    attempt.start()
    attempt.at_work()
    folders = [attempt.run, attempt.run / "checkpoints", attempt.run / "samples"]
    if subprocess.run(["chattr", "+i", *folders], capture_output=True, check=False).returncode:
        subprocess.run(["chattr", "-i", *folders], capture_output=True, check=False)
        raise Missed  # not root, or a file system that knows no such mark
    attempt.acted = True
    try:
        attempt.pause(6)
    finally:
        subprocess.run(["chattr", "-i", *folders], check=True)
    attempt.stop_in_a_while(badly=True)


def follower_killed(attempt: Attempt) -> None:
    """The process of Weights & Biases is killed: a line about it, and nothing else."""
    attempt.start()
    attempt.at_work()
    attempt.until(attempt.followers, START_S, "the process of Weights & Biases")
    _kill_one(attempt, attempt.followers())
    attempt.stop_in_a_while()


def second_trainer(attempt: Attempt) -> None:
    """The same command again while it trains: refused with the number of the first."""
    attempt.start()
    attempt.at_work()
    second = Attempt(attempt.soak, attempt.run, attempt.log.with_suffix(".second.log"))
    second.start()
    try:
        code = second.end(within=START_S)
    finally:
        second.put_down()
    if attempt.over:
        raise Missed
    attempt.acted = True
    holder = (attempt.ranks() or [attempt.pid])[0]
    require(code == 1, f"exit code {code} of the second trainer")
    require(f"in use by process {holder} on " in second.text, "the second trainer does not name the first")
    attempt.stop_in_a_while()


def reader(attempt: Attempt) -> None:
    """The model is read again and again while it is written: whole each time."""
    from cyclegan.errors import CycleganError
    from cyclegan.models import load_model

    attempt.start()
    attempt.at_work()
    attempt.until(lambda: any((attempt.run / "checkpoints").glob("generators-*")), START_S, "a model")
    attempt.acted = True
    end = time.monotonic() + 4
    while time.monotonic() < end and not attempt.over:
        try:
            load_model(attempt.run)
        except (CycleganError, OSError) as error:
            raise Broken(f"a reader saw: {error}") from error
        time.sleep(0.02)
    attempt.stop_in_a_while()


FAULTS: dict[str, Fault] = {
    "SIGKILL": Fault(killed, weight=8),
    "SIGTERM": Fault(partial(asked_to_stop, signal.SIGTERM), weight=2),
    "SIGINT": Fault(partial(asked_to_stop, signal.SIGINT)),
    "SIGHUP": Fault(partial(asked_to_stop, signal.SIGHUP)),
    "SIGUSR1": Fault(partial(asked_to_stop, signal.SIGUSR1)),
    "second Ctrl-C": Fault(asked_twice),
    "suspended": Fault(suspended),
    "data worker killed": Fault(worker_killed, weight=2),
    "data worker hanging": Fault(worker_stopped),
    "one rank killed": Fault(rank_killed, weight=4, only_many=True),
    "state truncated": Fault(damages.truncated, two_states=True),
    "bit flipped in a state": Fault(damages.bit_flipped, two_states=True),
    "checksum missing": Fault(damages.without_checksum, two_states=True),
    "state missing": Fault(damages.without_state, two_states=True),
    "all states damaged": Fault(damages.all_damaged, two_states=True),
    "disk full": Fault(disk_full, weight=3, only_small=True),
    "file size limited": Fault(quota, weight=2),
    "folders immutable": Fault(read_only),
    "W&B killed": Fault(follower_killed, wandb=True),
    "second trainer": Fault(second_trainer),
    "reader": Fault(reader),
}


def possible(attempt: Attempt, names: list[str]) -> list[str]:
    """Those of `names` that can happen to `attempt`."""
    two = len(whole_states(attempt.run)) > 1
    return [
        name
        for name in names
        if (two or not FAULTS[name].two_states)
        and (attempt.small or not FAULTS[name].only_small)
        and (attempt.soak.nproc > 1 or not FAULTS[name].only_many)
    ]


def _kill_one(attempt: Attempt, processes: list[int]) -> None:
    try:
        attempt.kill(attempt.rng.choice(processes), "one of its processes was killed")
    except (IndexError, ProcessLookupError):
        raise Missed from None


@contextlib.contextmanager
def _ballast(path: Path) -> Iterator[None]:
    """A file that takes all the room that is left on its disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (2**20, 2**12):
            try:
                while True:
                    os.write(handle, bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield
    finally:
        os.close(handle)
        path.unlink()
