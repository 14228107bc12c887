"""States: whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan.errors import CycleganError
from cyclegan.models import load_discriminators, load_model, model_bytes
from cyclegan.system.files import TEMPORARY_PREFIX, atomic_write, file_sha256, sha256
from cyclegan.training.storage import checkpoint
from cyclegan.training.storage.checkpoint import (
    States,
    read_state,
    require_numbers,
    restore,
    save_best,
    write_generators,
)
from tests.models.examples import generators
from tests.support.programs import run_python


def saved(folder: Path, steps: list[int], keep: int = 2) -> States:
    states = States(folder, keep=keep)
    for step in steps:
        torch.manual_seed(step)
        states.save(step, about={"config": {"steps": 9}}, net=nn.Linear(2, 2))
    return states


def test_a_state_comes_back_as_it_was_saved(tmp_path):
    torch.manual_seed(3)
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    states = States(tmp_path)
    states.save(3, about={"config": {"steps": 9}}, net=net)
    state = states.load_newest()
    assert (state["step"], state["config"]) == (3, {"steps": 9})
    restore(state, net=other)
    assert torch.equal(net.weight, other.weight)


def test_the_last_two_are_kept_with_a_checksum_that_sha256sum_reads(tmp_path):
    saved(tmp_path, [1, 2, 3])
    assert sorted(os.listdir(tmp_path)) == [
        "state-00000002.pt",
        "state-00000002.pt.sha256",
        "state-00000003.pt",
        "state-00000003.pt.sha256",
    ]
    digest, name = (tmp_path / "state-00000003.pt.sha256").read_text().split()
    assert name == "state-00000003.pt"
    assert digest == sha256((tmp_path / name).read_bytes())


def test_without_any_state_there_is_none(tmp_path):
    assert States(tmp_path).load_newest() is None


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def with_a_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def without_its_checksum(path: Path) -> None:
    path.with_name(path.name + ".sha256").unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rewritten(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.with_name(path.name + ".sha256").write_text(f"{sha256(data)}  {path.name}\n")


class Harmful:
    """Unpickling this creates a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


def holding_code(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"format": "cyclegan-state", "version": 1, "x": Harmful(path.with_name("canary"))}, buffer)
    rewritten(path, buffer.getvalue())


def a_plain_pickle_with_code(path: Path) -> None:
    rewritten(path, pickle.dumps(Harmful(path.with_name("canary"))))


def of_another_version(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"format": "cyclegan-state", "version": 99, "step": 2}, buffer)
    rewritten(path, buffer.getvalue())


def of_something_else(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    rewritten(path, buffer.getvalue())


DAMAGES = [
    truncated,
    with_a_flipped_bit,
    without_its_checksum,
    empty,
    holding_code,
    a_plain_pickle_with_code,
    of_another_version,
    of_something_else,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_state_before_is_taken_and_that_is_said(tmp_path, caplog, damage):
    states = saved(tmp_path, [1, 2])
    damage(tmp_path / "state-00000002.pt")
    assert states.load_newest()["step"] == 1
    assert len(caplog.records) == 1
    assert "state-00000002.pt" in caplog.text
    assert "taking the state before" in caplog.text
    assert not (tmp_path / "canary").exists()


def test_a_state_that_cannot_be_read_is_passed_over_too(tmp_path, caplog):
    states = saved(tmp_path, [1, 2])
    (tmp_path / "state-00000002.pt").unlink()
    (tmp_path / "state-00000002.pt").mkdir()
    assert states.load_newest()["step"] == 1
    assert "cannot be read (Is a directory); taking the state before" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_none_is_left_the_run_does_not_start_afresh(tmp_path, damage):
    states = saved(tmp_path, [1, 2])
    for step in (1, 2):
        damage(tmp_path / f"state-{step:08d}.pt")
    with pytest.raises(CycleganError, match=r"none of the 2 states .* can be used"):
        states.load_newest()
    assert not (tmp_path / "canary").exists()


def test_a_state_of_other_networks_is_a_sentence(tmp_path):
    state = saved(tmp_path, [1]).load_newest()
    with pytest.raises(CycleganError, match="the saved net does not fit"):
        restore(state, net=nn.Linear(3, 2))
    with pytest.raises(CycleganError, match="the saved other does not fit"):
        restore(state, other=nn.Linear(3, 2))


def test_a_state_from_before_there_were_evaluations_and_alarms_can_be_gone_on_with(tmp_path):
    net = nn.Linear(2, 2)
    before = net.weight.clone()
    restore(saved(tmp_path, [1]).load_newest(), evaluation=net, alarms=net)
    assert torch.equal(net.weight, before)


def test_the_best_generators_stay_when_others_are_tidied_away(tmp_path):
    players = nn.ModuleDict(generators())
    best = save_best(tmp_path, players, {"method": "cyclegan"}, 3, "kid")
    for step in (3, 4):
        write_generators(tmp_path, model_bytes(dict(players.items()), info={"step": step}), step, every=0)
    assert sorted(os.listdir(tmp_path)) == ["best-kid.safetensors", "generators-00000004.safetensors"]
    assert load_model(best).info == {"method": "cyclegan", "step": 3, "best_by": "kid"}


@pytest.mark.slow
def test_a_reader_sees_a_whole_state_or_none_while_others_are_written_and_deleted(tmp_path, caplog):
    (tmp_path / "checkpoints").mkdir()
    states = States(tmp_path / "checkpoints")
    players = nn.ModuleDict(generators())
    about = {"config": {}, "generator_specs": {way: net.spec for way, net in players.items()}}
    ema = types.SimpleNamespace(state_dict=dict)
    method = nn.ModuleDict({"generators": players})
    over = threading.Event()

    def write() -> None:
        step = 0
        while not over.is_set():
            step += 1
            states.save(step, about=about, method=method, ema=ema)
            write_generators(states.folder, model_bytes(dict(players.items()), info={"step": step}), step, every=0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not list(states.folder.glob("generators-*.safetensors")):
            time.sleep(0.001)
        before = (0, 0, 0)
        for _ in range(60):
            state = states.load_newest()
            assert state is not None
            seen = (state["step"], load_model(tmp_path).info["step"], load_discriminators(tmp_path)[1])
            assert all(now >= then for now, then in zip(seen, before, strict=True))
            before = seen
    finally:
        over.set()
        writer.join()
    assert before[0] > 2, "the writer hardly wrote"
    assert "damaged" not in caplog.text


def test_a_kill_between_checksum_and_the_very_first_state_leaves_a_run_that_begins(tmp_path, monkeypatch):
    states = States(tmp_path)
    written = []
    monkeypatch.setattr(checkpoint, "atomic_write", lambda path, *data: written.append(path.name))
    states.save(3, about={}, net=nn.Linear(2, 2))
    assert written == ["state-00000003.pt.sha256", "state-00000003.pt"]
    (tmp_path / written[0]).write_text("all that the killed one has left")
    assert States(tmp_path).load_newest() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_a_full_disk_leaves_the_old_state_and_no_stray_file(tmp_path):
    program = (
        "import resource, sys, torch; from torch import nn\n"
        "from pathlib import Path; from cyclegan.training.storage.checkpoint import States\n"
        "states = States(Path(sys.argv[1]))\n"
        "states.save(1, about={}, net=nn.Linear(2, 2))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "states.save(2, about={}, net=nn.Linear(200, 200))\n"
    )
    done = run_python(program, tmp_path, check=False)
    assert "state-00000002.pt could not be written (File too large); the states saved before are intact" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["state-00000001.pt", "state-00000001.pt.sha256"]
    assert read_state(tmp_path / "state-00000001.pt")["step"] == 1


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_state_that_replaces_one_of_the_same_step_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    """As when an evaluation is made up for after the last step. `failing` is the file that is not written any more."""
    states = States(tmp_path)
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    states.save(3, about={}, net=old)
    written: list[str] = []

    def write(path: Path, *data: bytes) -> None:
        written.append(path.name)
        if len(written) == failing:
            raise error
        atomic_write(path, *data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "atomic_write", write)
        with pytest.raises((KeyboardInterrupt, CycleganError)):
            states.save(3, about={}, net=new)
    found = States(tmp_path).load_newest()
    assert torch.equal(found["net"]["weight"], (old if failing < 3 else new).weight)
    states.save(3, about={}, net=new)  # and again, with nothing in the way
    assert torch.equal(States(tmp_path).load_newest()["net"]["weight"], new.weight)
    (line,) = (tmp_path / "state-00000003.pt.sha256").read_text().splitlines()
    assert line == f"{file_sha256(tmp_path / 'state-00000003.pt')}  state-00000003.pt"


@pytest.mark.slow
def test_a_kill_at_any_moment_of_saving_leaves_a_whole_state(tmp_path):
    program = (
        "import sys, torch; from torch import nn; from pathlib import Path\n"
        "from cyclegan.training.storage.checkpoint import States\n"
        "states = States(Path(sys.argv[1])); newest = states.load_newest(); step = newest['step'] if newest else 0\n"
        "net = nn.Linear(400, 400)\n"
        "while True:\n"
        "    step += 1; states.save(step, about={}, net=net); print(step, flush=True)\n"
    )
    reported = 0
    for moment in (0.0, 0.008, 0.031):
        saver = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert saver.stdout is not None
        saver.stdout.readline()
        time.sleep(moment)
        saver.send_signal(signal.SIGKILL)
        printed = saver.stdout.read().split()
        saver.stdout.close()
        saver.wait()
        reported = max([reported, *map(int, printed)])
        states = States(tmp_path)  # which also clears away what was left
        assert states.load_newest()["step"] >= reported
        assert not [name for name in os.listdir(tmp_path) if name.startswith(TEMPORARY_PREFIX)]


@pytest.mark.parametrize("value", [3, 2.5, True, [1, (2, 3.5)], {"a": {"b": [0]}, "c": []}])
def test_numbers_in_whatever_they_are_nested_in_are_numbers(value: object) -> None:
    require_numbers(value)


@pytest.mark.parametrize("value", ["x", None, [1, "x"], {"a": {"b": [None]}}, {"a": b"1"}])
def test_anything_else_among_numbers_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="where a number has to"):
        require_numbers(value)
