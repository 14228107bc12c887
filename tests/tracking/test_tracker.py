"""What the training loop sees of tracking: calls that return, whatever happens to the disk and the client."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan.tracking import open_tracker

OPEN = "open_tracker(run, mode={mode!r}, project='p', config={{}}, resumed=False, run_id=None, name='n')"
START = "import json, sys; from pathlib import Path; run = Path(sys.argv[1])\n"


def run_python(code: str, run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + code, str(run)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.process
def test_disabled_tracking_needs_no_wandb_and_leaves_nothing_but_the_journal(tmp_path: Path) -> None:
    code = f"""
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "wandb":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from cyclegan.tracking import open_tracker
for mode in ("disabled", "auto"):
    tracker = {OPEN.format(mode="MODE").replace("'MODE'", "mode")}
    tracker.log(len(mode), {{"loss": 1.0}})
    tracker.finish()
    print(tracker.note)
print("wandb" in sys.modules)
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    off = "Weights & Biases: off"
    assert done.stdout.splitlines() == [off, f"{off} (wandb is not installed)", "False"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_pictures_and_models_stand_in_the_journal_by_their_place_in_the_run(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path, mode="disabled", project="p", config={}, resumed=False, run_id="id", name="n")
    tracker.images(500, "samples/a2b", tmp_path / "samples" / "a2b-00000500.png", ("real", "fake"))
    tracker.model(500, tmp_path / "checkpoints" / "generators-00000500.safetensors")
    tracker.finish()
    tracker.finish("failed")  # a second word is not heard
    first, second = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first["samples/a2b"] == "samples/a2b-00000500.png"
    assert first["columns/samples/a2b"] == "real, fake"
    assert second["model"] == "checkpoints/generators-00000500.safetensors"
    assert tracker.run_id == "id"


@pytest.mark.process
def test_a_client_that_does_not_end_is_ended_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    python = tmp_path / "deaf-python"
    python.write_text("#!/bin/sh\nexec sleep 20\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    tracker = open_tracker(
        tmp_path, mode="offline", project="p", config={}, resumed=False, run_id=None, name="n", deadline=0.4
    )
    tracker.finish("failed")
    assert "no answer within 0.1 s" in caplog.text


@pytest.mark.process
def test_a_full_disk_is_said_once_and_training_goes_on_with_whole_rows(tmp_path: Path) -> None:
    code = f"""
import logging, resource
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from cyclegan.tracking import open_tracker
tracker = {OPEN.format(mode="disabled")}
for step in range(1, 101):
    tracker.log(step, {{"loss": 1.0}})
tracker.finish()
print("trained to the end")
"""
    done = run_python(code, tmp_path)
    assert done.stdout == "trained to the end\n", done.stderr
    assert done.stderr.count("cannot write to") == 1
    assert len(done.stderr.splitlines()) == 1
    content = (tmp_path / "metrics.jsonl").read_text()
    assert content.endswith("}\n"), "a part of a row was left"
    steps = [json.loads(line)["step"] for line in content.splitlines()]
    assert steps == list(range(1, len(steps) + 1))
    assert 10 < len(steps) < 100

    tracker = open_tracker(tmp_path, mode="disabled", project="p", config={}, resumed=True, run_id=None, name="n")
    tracker.log(101, {"loss": 1.0})
    tracker.finish()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 101


@pytest.mark.process
def test_a_process_that_cannot_be_started_is_said_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    with caplog.at_level(logging.WARNING, "cyclegan"):
        tracker = open_tracker(tmp_path, mode="offline", project="p", config={}, resumed=False, run_id=None, name="n")
    assert "cannot be started" in caplog.text
    tracker.log(1, {"loss": 1.0})
    tracker.finish()
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
