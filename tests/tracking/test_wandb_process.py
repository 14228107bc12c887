"""The real client against a stand-in for the service: nothing lost, nothing doubled, nothing that hangs."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.system.files import locked
from cyclegan.tracking import Tracker
from cyclegan.tracking.wandb_launcher import sync_command, upload_command
from cyclegan.tracking.wandb_process import UploadCount
from tests.fake_wandb import KEY, Service
from tests.tracking.sessions import ID, shell, track, use

pytestmark = pytest.mark.slow


def train(tracker: Tracker, run: Path, steps: range) -> None:
    """What a loop does: figures at every step, a picture at every third, generators at the last."""
    for step in steps:
        tracker.log(step, {"loss/cycle_a": step / 2})
        if step % 3 == 0:
            picture = run / "samples" / f"a2b-{step:08d}.png"
            Image.fromarray(np.full((8, 8, 3), step, np.uint8)).save(picture)
            tracker.images(step, "samples/a2b", picture)
    generators = run / f"generators-{steps.stop:08d}.safetensors"
    generators.write_bytes(b"weights" * steps.stop)
    tracker.model(steps.stop, generators)


def assert_complete(service: Service, steps: range) -> None:
    """Every figure and every picture has arrived once, at its step."""
    history = service.history(ID)
    assert [row["_step"] for row in history] == list(range(len(history)))
    assert [(row["trainer/step"], row["loss/cycle_a"]) for row in history if "loss/cycle_a" in row] == [
        (step, step / 2) for step in steps
    ]
    assert [row["trainer/step"] for row in history if "samples/a2b" in row] == [step for step in steps if step % 3 == 0]
    assert service.unknown == []


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.05)


def test_a_run_online_and_its_resume_send_every_point_once(
    run: Path, service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "cyclegan"):
        tracker = track(run, "auto")
        train(tracker, run, range(6))
        tracker.finish("preempted")
    assert f"curves at {service.url}" in caplog.text
    assert_complete(service, range(6))

    tracker = track(run, "auto", resumed=True)
    train(tracker, run, range(3, 9))  # the state was three steps older than the last row
    tracker.finish()
    assert_complete(service, range(9))
    assert list(service.runs) == [ID]
    assert '"lr_generator":{"value":0.0002}' in service.runs[ID].config.replace(" ", "")
    assert service.versions(f"generators-{ID}") == [{"step-6"}, {"latest", "step-9"}]
    assert b"weights" * 9 in service.uploads.values()
    assert sum(address.endswith(".png") for address in service.uploads) == 3

    holders = [path for path in run.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holders == [], "the key was written to the disk"
    assert capfd.readouterr() == ("", "")


def test_runs_offline_are_uploaded_by_the_command_that_was_printed(run: Path, service: Service) -> None:
    tracker = track(run, "offline")
    assert sync_command(run) in tracker.note
    train(tracker, run, range(6))
    tracker.finish("failed")
    tracker = track(run, "offline", resumed=True)
    train(tracker, run, range(3, 9))
    tracker.finish()
    assert service.runs == {}

    shell(sync_command(run))
    assert_complete(service, range(9))
    assert service.versions(f"generators-{ID}") == [{"step-6"}, {"latest", "step-9"}]


def test_a_run_that_goes_online_brings_along_what_it_did_without(run: Path, service: Service) -> None:
    for mode, steps in (("disabled", range(2)), ("offline", range(2, 4)), ("online", range(4, 6))):
        tracker = track(run, mode)
        train(tracker, run, steps)
        tracker.finish()
    assert_complete(service, range(6))
    assert service.versions(f"generators-{ID}") == [{"step-2"}, {"step-4"}, {"latest", "step-6"}]
    assert "No runs to sync" in shell(sync_command(run))  # typed by habit, or from an old note
    assert_complete(service, range(6))


def test_the_service_dying_in_mid_run_costs_no_point(
    run: Path, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = track(run, "online", deadline=5.0)
    tracker.log(0, {"loss/cycle_a": 0.0})
    # the client sends every 15 seconds; nothing it can be told changes that
    wait_until(lambda: ID in service.runs and len(service.runs[ID].file("wandb-history.jsonl")) > 0)
    service.die()
    train(tracker, run, range(5))
    tracker.finish()
    assert "Weights & Biases stopped" in caplog.text
    assert upload_command(run) in caplog.text
    assert len(service.history(ID)) < 5

    tracker = track(run, "offline", resumed=True)  # nobody knows now what has arrived, so no folder is made
    train(tracker, run, range(5, 7))
    tracker.finish()
    assert "without confirming what has arrived" in caplog.text
    assert not list((run / "wandb").glob("offline-run-*"))

    with Service(service.runs) as back:
        use(back, tmp_path, monkeypatch)
        assert f"curves at {back.url}" in shell(upload_command(run))
        assert_complete(back, range(7))


@pytest.mark.parametrize("answer", ["503", "hang"])
def test_a_service_out_of_order_ends_in_one_sentence(
    run: Path, service: Service, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    service.answer = answer
    tracker = track(run, "online", deadline=2.0)
    train(tracker, run, range(3))
    tracker.finish()
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["Weights & Biases stopped"]


TRAINER = """
import os, signal, sys
from pathlib import Path
from cyclegan.tracking import open_tracker
tracker = open_tracker(Path(sys.argv[1]), mode="online", project="cyclegan", config={}, resumed=False,
                       run_id=sys.argv[2], name="h2z", deadline=20)
for step in range(4):
    tracker.log(step, {"loss/cycle_a": step / 2})
print("trained", flush=True)
"""


def test_a_trainer_that_is_killed_still_has_its_last_points_sent(run: Path, service: Service) -> None:
    code = TRAINER + "os.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run([sys.executable, "-c", code, str(run), ID], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    tracker = track(run, "online", resumed=True)  # waits for the other session to end
    for step in range(2, 6):
        tracker.log(step, {"loss/cycle_a": step / 2})
    tracker.finish()
    assert [(row["trainer/step"], row["loss/cycle_a"]) for row in service.history(ID)] == [
        (step, step / 2) for step in range(6)
    ]


def test_two_sessions_of_one_run_never_talk_to_the_service_at_once(
    run: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "wandb").mkdir()
    with locked(run / "wandb"):
        tracker = track(run, "online", deadline=3.0)
        train(tracker, run, range(2))
        tracker.finish()
    assert "no answer within 3 s" in caplog.text
    assert service.operations == {}


def test_the_end_of_a_trainer_does_not_wait_for_a_service_that_hangs(run: Path, service: Service) -> None:
    service.answer = "hang"
    started = subprocess.run(
        [sys.executable, "-c", TRAINER, str(run), ID],
        stdout=subprocess.PIPE,
        timeout=15,  # less than the deadline, let alone what the client would wait
        env=dict(os.environ),
        check=False,
    )
    assert started.stdout == b"trained\n"
    assert started.returncode == 0


def test_a_session_killed_before_its_first_row_has_handed_over_nothing(tmp_path: Path) -> None:
    UploadCount(tmp_path / "handed.json").close()
    uploaded = UploadCount(tmp_path / "handed.json")
    assert (uploaded.rows, uploaded.certain) == (0, True)
    uploaded.save(12345, certain=False)
    uploaded.save(7, certain=True)  # shorter than what it replaces
    uploaded.close()
    again = UploadCount(tmp_path / "handed.json")
    assert (again.rows, again.certain) == (7, True)
    again.close()


def test_an_upload_of_what_is_no_run_is_a_usage_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cyclegan", "sync", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is not a run tracked by Weights & Biases" in done.stderr
    assert len(done.stderr.splitlines()) == 1
