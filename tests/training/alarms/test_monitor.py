"""The alarms in the loop: what they write, what they leave alone, and what they remember."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.cli.train import command
from cyclegan.errors import CycleganError
from cyclegan.networks.layers import Generator
from cyclegan.training import train
from cyclegan.training.alarms import ALARMS
from cyclegan.training.alarms import probe as probing
from cyclegan.training.alarms.monitor import Event
from cyclegan.training.storage.checkpoint import read_state
from tests.support.run_files import read_metrics, read_status
from tests.support.states import assert_same, newest_state
from tests.support.stops import stop_at
from tests.training.alarms.faults import Chequers, Collapses, Copies, Inverts

DOCUMENT = Path(__file__).parents[3] / "docs" / "alarms.md"


def alarms_of(run: Path) -> list[tuple[int, str]]:
    return [(row["step"], name.removeprefix("alarm/")) for row in read_metrics(run) for name in row if "alarm/" in name]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tiny, scenes) -> Any:
    """`planted(fault, steps=…)`: a config of smooth pictures, every generator with this fault, a probe at each step."""
    monkeypatch.setattr(probing, "EVERY", 1)

    def plant(fault: torch.nn.Module, **changes: object) -> Any:
        def forward(self: Generator, x: torch.Tensor) -> torch.Tensor:
            return fault(x) + 0 * next(self.parameters()).sum()

        monkeypatch.setattr(Generator, "forward", forward)
        return tiny(**{"a": str(scenes("x", 10)), "b": str(scenes("y", 10, bright=0.1)), "holdout": 0.34} | changes)

    return plant


@pytest.mark.parametrize(
    ("fault", "name", "step"),
    [
        (Inverts(), "colours-inverted", 2),
        (Copies(), "nothing-changes", 2),
        (Collapses(), "outputs-alike", 2),
        (Chequers(), "checkerboard", 3),
    ],
)
def test_a_planted_fault_is_reported_by_the_loop_once(tmp_path, planted, caplog, fault, name, step):
    run = train(planted(fault, steps=5), tmp_path / "run")
    assert alarms_of(run) == [(step, name)]
    row = next(row for row in read_metrics(run) if f"alarm/{name}" in row)
    assert row.keys() == {"step", "time", f"alarm/{name}", f"alarm_figure/{name}"}
    assert caplog.text.count(f"alarm at step {step}, {name}: ") == 1


@pytest.mark.slow
def test_stop_saves_a_state_and_ends_with_one_sentence(tmp_path, planted, caplog):
    config = planted(Inverts(), steps=6, on_alarm="stop")
    with pytest.raises(CycleganError) as caught:
        train(config, tmp_path / "run")
    assert str(caught.value) == (
        f"--on-alarm stop: ended at step 2 of 6 by the alarm colours-inverted; state saved, go on with "
        f"`cyclegan train --resume {tmp_path / 'run'} --on-alarm warn`, if not by its cure"
    )
    assert caught.value.exit_code == 1
    status = read_status(tmp_path / "run")
    assert (status["status"], status["step"], status["reason"]) == ("failed", 2, str(caught.value))
    caplog.clear()
    run = train(replace(config, on_alarm="warn"), tmp_path / "run")
    assert newest_state(run)["step"] == 6
    assert "alarm at step" not in caplog.text  # it was raised before, and the event goes on


def test_what_is_known_before_the_first_step_can_stop_the_run_there(tmp_path, tiny):
    config = tiny(steps=2, on_alarm="stop")
    (Path(config.b) / "copy.png").write_bytes((Path(config.a) / "000.png").read_bytes())
    for _ in range(2):  # nothing was done, so that the next start finds it again
        with pytest.raises(CycleganError, match="ended at step 0 of 2 by the alarm domains-overlap"):
            train(config, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    train(replace(config, on_alarm="warn"), tmp_path / "run")


def test_an_alarm_at_the_last_step_stops_nothing(tmp_path, planted):
    run = train(planted(Inverts(), steps=2, on_alarm="stop"), tmp_path / "run")
    assert alarms_of(run) == [(2, "colours-inverted")]
    assert read_status(run)["status"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"dropout": True, "norm": "batch", "spectral_norm": True, "ema_decay": 0.0}])
def test_losses_are_the_same_to_the_bit_with_and_without_the_probe(tmp_path, tiny, monkeypatch, changes):
    config = tiny(steps=3, **changes)
    with monkeypatch.context() as patch:
        patch.setattr(probing, "EVERY", 1)
        seen = train(config, tmp_path / "seen")
    unseen = train(config, tmp_path / "unseen")
    assert [row["step"] for row in read_metrics(seen) if any("probe/" in name for name in row)] == [1, 2, 3]
    losses = [[row for row in read_metrics(run) if "loss/cycle_a" in row] for run in (seen, unseen)]
    for one, two in zip(*losses, strict=True):
        assert {k: v for k, v in one.items() if k[:4] in ("loss", "scor", "grad")} == {
            k: v for k, v in two.items() if k[:4] in ("loss", "scor", "grad")
        }
    for name in ("method", "ema", "generator_optimizer", "discriminator_optimizer"):
        assert_same(newest_state(seen)[name], newest_state(unseen)[name], name)


@pytest.mark.slow
def test_a_resumed_run_remembers_what_an_undisturbed_one_does(tmp_path, planted, monkeypatch):
    config = planted(Inverts(), steps=6)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 1)  # between the first look and the second, which raises it
        with pytest.raises(CycleganError, match="stopped by SIGTERM at step 1 of 6"):
            train(config, tmp_path / "halves")
    halves = train(config, tmp_path / "halves")
    assert_same(newest_state(whole)["alarms"], newest_state(halves)["alarms"])
    assert alarms_of(whole) == alarms_of(halves) == [(2, "colours-inverted")]


@pytest.mark.slow
def test_a_state_from_before_there_were_alarms_can_be_gone_on_from(tmp_path, tiny):
    from cyclegan.system.files import file_sha256

    run = train(tiny(steps=1), tmp_path / "run")
    path = run / "checkpoints" / "state-00000001.pt"
    state = read_state(path)
    del state["alarms"]
    torch.save(state, path)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    assert newest_state(train(tiny(steps=2), run))["step"] == 2


def test_every_alarm_comes_back_from_a_state_as_it_was(watched):
    run = watched()
    run.begin()
    row = {f"scores/{d}/{kind}": 0.5 + d.count("a") / 9 for d in "ab" for kind in ("real", "fake")}
    run.rows([row | {"loss/cycle_a": 1.0 + number} for number in range(40)])
    run.look(Inverts(), Inverts(), times=1)
    again = type(run)(run.config, run.run)
    again.alarms.load_state_dict(run.alarms.state_dict())
    assert_same(run.alarms.state_dict(), again.alarms.state_dict())
    assert again.begin(300) == []


def test_what_is_saved_is_plain_values(watched, tmp_path):
    run = watched()
    run.begin()
    run.rows([{"loss/cycle_a": 1.0, "scores/a/real": 0.7, "scores/a/fake": 0.2}] * 12)
    run.look(Inverts(), Inverts())
    torch.save(run.alarms.state_dict(), tmp_path / "state.pt")
    assert_same(run.alarms.state_dict(), torch.load(tmp_path / "state.pt", weights_only=True))


def test_an_event_is_raised_once_after_enough_looks_and_again_after_as_many_clear_ones():
    event = Event()
    raised = [event.hold(2) if letter == "x" else bool(event.clear_after(2)) for letter in "x.xxx.xx..xx"]
    assert "".join("!" if flag else "-" for flag in raised) == "---!-------!"


def test_every_alarm_has_a_heading_that_says_what_it_means_and_what_to_do():
    text = DOCUMENT.read_text()
    headings = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert headings == list(ALARMS)
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        for word in ("**Figure.**", "**Usual cause.**", "**Cure.**", "**How sure.**"):
            assert word in section, section.splitlines()[0]


def test_every_cure_names_options_that_there_are():
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    for name, kind in ALARMS.items():
        named = set(re.findall(r"--[a-z0-9-]+", kind.cure))
        assert named <= known, name
        assert named or "data check" in kind.cure, name


@pytest.mark.slow
def test_a_healthy_run_of_the_demo_raises_none(tmp_path, tiny, monkeypatch):
    from cyclegan.data.demo.write import write_demo

    write_demo(tmp_path / "demo", count=24, test_count=8, size=32)
    monkeypatch.setattr(probing, "EVERY", 15)
    demo = {"a": None, "b": None, "data": str(tmp_path / "demo"), "load_size": 32, "channels": 8}
    demo |= {"upsampling": "resize", "lr_generator": 4e-4, "lr_discriminator": 4e-4, "ema_decay": 0.9}
    assert alarms_of(train(tiny(steps=60, log_every=5, **demo), tmp_path / "run")) == []
