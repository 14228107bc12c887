"""The soak: it keeps its books right, notices what is broken, and a minute of it goes through."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cyclegan.system.files import sha256
from tests.soak import processes
from tests.soak.faults import FAULTS, possible
from tests.soak.judging import SAME, Broken, half_written, unequal, whole_states
from tests.soak.ledger import Ledger, table
from tests.soak.rig import Attempt
from tests.soak.setting import STATE_EVERY, Soak

ROOT = Path(__file__).parents[2]


@pytest.fixture
def attempt(tmp_path) -> Attempt:
    (tmp_path / "tmp").mkdir()
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    return Attempt(Soak(tmp_path, tmp_path / "data", 10, 1, False, random.Random(0)), run, tmp_path / "log")


def write_state(run: Path, step: int, **changes: object) -> Path:
    keys = SAME
    content = {key: {"values": torch.arange(3.0), "number": 1, "several": [1.0, (2,)]} for key in keys} | changes
    path = run / "checkpoints" / f"state-{step:08d}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    path.with_name(path.name + ".sha256").write_text(f"{sha256(path.read_bytes())}  {path.name}\n")
    return path


def write_rows(run: Path, values: dict[int, float]) -> None:
    lines = [json.dumps({"step": step, "time": 0, "loss/cycle_a": value}) for step, value in values.items()]
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


def a_pair(tmp_path: Path) -> tuple[Path, Path]:
    runs = tmp_path / "one", tmp_path / "two"
    for run in runs:
        write_state(run, 4)
        write_rows(run, {1: 0.5, 2: 0.25})
    return runs


def test_two_runs_that_ended_alike_are_equal(tmp_path):
    assert unequal(*a_pair(tmp_path), 4, gaps=False) == []


def test_one_bit_of_one_weight_is_a_difference(tmp_path):
    one, two = a_pair(tmp_path)
    values = torch.arange(3.0)
    values.view(torch.int32)[2] ^= 1
    write_state(two, 4, generator_optimizer={"values": values, "number": 1, "several": [1.0, (2,)]})
    assert unequal(one, two, 4, gaps=False) == ["generator_optimizer/values"]


def test_a_row_with_another_figure_is_a_difference_and_a_missing_one_unless_gaps_are_allowed(tmp_path):
    one, two = a_pair(tmp_path)
    write_rows(two, {1: 0.5, 2: 0.26})
    assert unequal(one, two, 4, gaps=True) == ["row 2"]
    write_rows(two, {2: 0.25})
    assert unequal(one, two, 4, gaps=False) == ["no row 1"]
    assert unequal(one, two, 4, gaps=True) == []


def test_states_count_that_agree_with_their_checksums(tmp_path):
    run = tmp_path / "run"
    for step in (5, 10, 15):
        write_state(run, step)
    assert whole_states(run) == [15, 10, 5]
    assert not half_written(run)
    os.truncate(run / "checkpoints" / "state-00000015.pt", 100)
    (run / "checkpoints" / "state-00000010.pt.sha256").unlink()
    assert whole_states(run) == [5]
    assert half_written(run)


def end(attempt: Attempt, said: str, code: int) -> Attempt:
    """`attempt` as if its trainer had said something and ended."""
    attempt.log.write_text(said)
    attempt.before, attempt.rows_before, attempt.since, attempt._count = whole_states(attempt.run)[:1], -1, 0.0, 0
    attempt.code = code
    return attempt


def test_a_resume_from_anything_but_the_newest_whole_state_is_noticed(attempt):
    write_state(attempt.run, 5)
    write_state(attempt.run, 10)
    end(attempt, "resuming run at step 10 of 20\n", -9).judge()
    with pytest.raises(Broken, match="not resumed at"):
        end(attempt, "resuming run at step 5 of 20\n", -9).judge()
    with pytest.raises(Broken, match="not resumed at"):
        end(attempt, "resuming run at step 0 of 20\n", -9).judge()


def test_a_state_that_was_there_and_is_gone_is_noticed(attempt):
    state = write_state(attempt.run, 10)
    end(attempt, "", -9)
    state.unlink()
    with pytest.raises(Broken, match="newest whole state was"):
        attempt.judge()


def test_more_steps_lost_than_two_intervals_are_noticed(attempt):
    write_state(attempt.run, 10)
    write_rows(attempt.run, {10 + 2 * STATE_EVERY: 1.0})
    end(attempt, "resuming run at step 10 of 99\n", -9).judge()
    assert attempt.lost == 2 * STATE_EVERY
    write_rows(attempt.run, {11 + 2 * STATE_EVERY: 1.0})
    with pytest.raises(Broken, match=f"{2 * STATE_EVERY + 1} steps lost"):
        end(attempt, "resuming run at step 10 of 99\n", -9).judge()


def test_what_is_left_lying_about_is_noticed(attempt):
    stray = attempt.run / ".tmp-1-2"
    stray.write_text("")
    end(attempt, "", -9).judge()  # may be, after SIGKILL, and until the next start
    end(attempt, "", 143).since = time.time() - 10
    with pytest.raises(Broken, match=r"after a regular end: \.tmp-1-2"):
        attempt.judge()
    attempt.since = time.time() + 10
    attempt.judge()  # it ended before it was as far as to remove what another had left
    end(attempt, "resuming run at step -1 of 20\n", -9).since = time.time() + 10
    with pytest.raises(Broken, match=r"by an earlier attempt and not removed: \.tmp-1-2"):
        attempt.judge()


def test_a_traceback_is_a_broken_promise(attempt):
    with pytest.raises(Broken, match="traceback"):
        end(attempt, "resuming run at step -1 of 9\nTraceback (most recent call last)\n", -9).judge()


def test_faults_are_drawn_only_where_they_can_happen(attempt):
    names = list(FAULTS)
    assert not {"disk full", "one rank killed", "bit flipped in a state"} & set(possible(attempt, names))
    write_state(attempt.run, 5)
    write_state(attempt.run, 10)
    assert "bit flipped in a state" in possible(attempt, names)


@pytest.mark.process
def test_processes_below_another_are_found_and_told_from_later_ones():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        end = time.monotonic() + 20
        while not processes.descendants(process.pid):
            assert time.monotonic() < end
            time.sleep(0.01)
        (child,) = processes.descendants(process.pid)
        assert processes.parent(child) == process.pid
        assert processes.started(child) >= processes.started(process.pid) != ""
        process.communicate(b"\n")
    assert processes.started(process.pid) == ""
    assert processes.descendants(process.pid) == []


def test_the_table_names_every_fault(attempt):
    ledger = Ledger(1, attempt.soak, 0)
    ledger.tries["SIGKILL"] = 3
    ledger.broken("SIGKILL", "something", attempt.log)
    text = table(ledger.summary())
    assert "| SIGKILL | 3 | 1 |" in text
    assert all(f"| {name} | " in text for name in FAULTS)
    assert ledger.summary()["verdict"] == "broken"


@pytest.mark.slow
def test_a_run_under_faults_ends_as_the_undisturbed_one(tmp_path):
    options = (
        f"--rounds 1 --minutes 0.2 --steps 16 --seed 2 --work {tmp_path}/work --output {tmp_path}/soak.json".split()
    )
    for fault in ("SIGKILL", "SIGTERM", "bit flipped in a state"):
        options += ["--fault", fault]
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "soak.json").read_text())
    assert summary["verdict"] == "equal"
    assert [entry["equal"] for entry in summary["rounds"]] == [True]
    assert sum(entry["tries"] for entry in summary["faults"].values()) >= 1
    shutil.rmtree(tmp_path / "work")
