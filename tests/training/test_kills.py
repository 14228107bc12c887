"""SIGKILL at any moment: the next start goes on from the last whole state, and ends as if nothing had been."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.errors import CycleganError
from cyclegan.training import train
from cyclegan.training.storage.checkpoint import read_state
from tests.support.run_files import curves, read_status
from tests.support.states import assert_same, newest_state
from tests.training.kills import Trainers, until, writing

KILLS = 5
STEPS = 48


def newest(run: Path) -> int:
    """The step of the newest whole state, 0 without one. The files are looked at as a kill left them."""
    whole = [0]
    for path in (run / "checkpoints").glob("state-*.pt"):
        with contextlib.suppress(CycleganError):
            whole.append(read_state(path)["step"])
    return max(whole)


def newest_name(run: Path) -> int:
    """The step of the newest state by the names alone."""
    return max((int(path.name[6:14]) for path in (run / "checkpoints").glob("state-*.pt")), default=0)


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_as_the_undisturbed_one(tmp_path, tiny):
    draws = random.Random(0)
    config = tiny(steps=STEPS, state_every=3)
    whole = train(config, tmp_path / "whole")
    trainers, run, log = Trainers(), tmp_path / "run", tmp_path / "log"
    safe, while_writing = 0, 0
    for kill in range(KILLS):
        enough = safe + draws.randint(0, 2)
        process = trainers.start(replace(config, state_every=draws.randint(1, 3)), run, log)
        until(lambda enough=enough: newest_name(run) > enough, process)
        if kill % 2:  # every second one dies while a state is written, the others at some moment
            until(lambda: any(writing(run)), process)
        else:
            time.sleep(draws.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it came to its end before it was killed; more steps"
        while_writing += any(writing(run))
        resumed = re.findall(r"resuming .* at step (\d+)", log.read_text())
        assert len(resumed) == kill, "not every next start went on"
        assert not resumed or int(resumed[-1]) == safe, "it did not go on from the newest whole state"
        now = newest(run)
        assert now > safe, "what was saved is gone"
        assert read_status(run)["step"] <= now, "what was reported is not there"
        safe = now
    assert while_writing, "no kill met a state that was being written"
    last = trainers.start(config, run, log)
    last.join(120)
    assert last.exitcode == 0
    assert sorted(path.name for path in run.rglob("*")) == sorted(path.name for path in whole.rglob("*"))
    assert_same(newest_state(whole), newest_state(run))
    assert curves(whole) == curves(run)
