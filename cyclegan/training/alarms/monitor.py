"""All alarms of a run: shown what the loop knows, they speak once per event, and say what becomes of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cyclegan.config import TrainConfig
from cyclegan.data.held_out import held_out_pictures
from cyclegan.data.kinds import InputKind
from cyclegan.data.sets import PictureSets
from cyclegan.errors import CycleganError
from cyclegan.methods import Method
from cyclegan.training.alarms import probe as probing
from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, RunInfo
from cyclegan.training.alarms.machine import NotFinite
from cyclegan.training.alarms.registry import ALARMS
from cyclegan.training.distributed.ranks import Ranks, SingleProcess
from cyclegan.training.loop_io.health import NonFiniteGuard, NotFiniteError
from cyclegan.training.storage.attempts import given_up
from cyclegan.training.storage.checkpoint import require_numbers
from cyclegan.training.update.precision import Precision

log = logging.getLogger("cyclegan")

EARLY = 0.2  # share of the steps in which a run is cheaper begun anew than gone on with
RESTARTS = 2  # at most: what three seeds have in common is not the seed


class AlarmRecorder(Protocol):
    """What writes alarms down: the tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def alarm(self, step: int, name: str, text: str, figure: float) -> None: ...


class Restart(CycleganError):
    """The run is to be begun anew with another seed, because of the alarm `name`."""

    def __init__(self, name: str, step: int, text: str) -> None:
        super().__init__(f"given up at step {step} by the alarm {name}: {text}")
        self.name = name
        self.step = step
        self.text = text


class StoppedByAlarm(CycleganError):
    """The run ended by an alarm, as --on-alarm stop wants it."""

    on_every_rank = True


class Event:
    """How long an alarm has held, and whether it was raised for it."""

    def __init__(self) -> None:
        self.held = 0  # looks in a row
        self.clear = 0
        self.raised = False

    def hold(self, looks: int) -> bool:
        """One more look shows it; whether this is when it is raised: after `looks` in a row, and once."""
        self.held, self.clear = self.held + 1, 0
        new = self.held >= looks and not self.raised
        self.raised |= new
        return new

    def clear_after(self, looks: int) -> None:
        """One more look does not show it. As many as it takes to raise it end the event."""
        self.held, self.clear = 0, self.clear + 1
        if self.clear >= looks:
            self.raised = False


class AlarmMonitor:
    """The alarms of a run of `config` in the directory `run`, where attempts may have been given up before.

    Nothing here draws a random number or changes a network: the losses are the same with and without. Each process of
    several has them and is shown the same, so that all come to the same decisions.
    """

    def __init__(
        self,
        config: TrainConfig,
        domains: PictureSets,
        views: Mapping[str, InputKind],
        method: Method,
        run: Path,
        ranks: Ranks | None = None,
    ) -> None:
        self.config = config
        self.domains = domains
        self.views = views
        self.method = method
        self.run = run
        self.ranks = ranks or SingleProcess()
        self.restarts = len(given_up(run))
        sizes = {
            domain: sum(weight.numel() for weight in network.parameters())
            for domain, network in method.discriminators.items()
        }
        equilibrium = None if method.adversarial is None else method.adversarial.equilibrium
        facts = RunInfo(config, domains, equilibrium, sizes, augmented=method.augmented)
        self.alarms: dict[str, Alarm] = {name: kind(facts) for name, kind in ALARMS.items()}
        self.events = {name: Event() for name in self.alarms}
        self.probed = 0  # the step of the last probe
        self.fingerprint = ""  # of the pictures that were looked at before the first step
        self.ended_by = ""  # the alarm that ends the run
        self._pictures: dict[str, Tensor] | None = None
        self._recorder: AlarmRecorder | None = None

    def begin(self, step: int, recorder: AlarmRecorder) -> None:
        """Look at what can be known without a step, unless these same pictures were looked at before."""
        self._recorder = recorder
        if self.fingerprint == self.domains.fingerprint:
            return
        self.fingerprint = self.domains.fingerprint
        for name, alarm in self.alarms.items():
            finding = alarm.begin()
            if finding is not None and self.events[name].hold(looks=1):
                self._raise(step, name, finding)
            elif finding is None and not alarm.observes:
                self.events[name].clear_after(looks=1)  # other pictures than before, and these are well

    def look(self, step: int, row: Mapping[str, float]) -> None:
        """Take in a row of the journal. Raises `Restart` where the run is to be begun anew."""
        self._show(Observation("row", step, row))

    def probe(self, step: int, generators: nn.ModuleDict, precision: Precision) -> None:
        """Every 300 steps look at some translations by `generators`. Raises `Restart`."""
        if not step or step % probing.EVERY or step == self.probed:  # the last: a resume begins where it was saved
            return
        self.probed = step
        if self._pictures is None:
            shown = held_out_pictures(self.domains, self.config, probing.PICTURES, dict(self.views))
            self._pictures = {name: _in_unit(pictures) for name, pictures in shown.items()}
        pictures = {name: some.to(precision.device) for name, some in self._pictures.items()}
        figures = probing.probe(pictures, generators, self.method, precision, self.ranks)
        assert self._recorder is not None, "begin() comes first"
        self._recorder.log(step, {f"probe/{name}": value for name, value in figures.items()})
        self._show(Observation("probe", step, figures))

    def finite(self, step: int, guard: NonFiniteGuard) -> int:
        """`guard.check()`, whose refusal to go on is an event too. Raises `NotFiniteError` or `Restart`."""
        try:
            return guard.check()
        except NotFiniteError as error:
            if self.events["not-finite"].hold(looks=1):
                self._write(step, "not-finite", NotFinite.finding(error.row, error.row))
            if self._may_restart(step, "not-finite")[0]:
                raise Restart("not-finite", step, str(error)) from error
            raise

    def raise_if_stopped(self, step: int) -> None:
        """Raise `StoppedByAlarm` if an alarm ends the run before its end; to be called when its state is saved."""
        assert self.config.steps is not None
        if self.ended_by and step < self.config.steps:
            raise StoppedByAlarm(
                f"--on-alarm stop: ended at step {step} of {self.config.steps} by the alarm {self.ended_by}; state "
                f"saved, go on with `cyclegan train --resume {self.run} --on-alarm warn`, if not by its cure"
            )

    def _show(self, moment: Observation) -> None:
        for name, alarm in self.alarms.items():
            alarm.note(moment)
            if alarm.observes != moment.kind:
                continue
            finding = alarm.look(moment)
            if finding is None:
                self.events[name].clear_after(alarm.patience)
            elif self.events[name].hold(alarm.patience):
                self._raise(moment.step, name, finding)

    def _raise(self, step: int, name: str, finding: Finding) -> None:
        text = self._write(step, name, finding)
        _REACTIONS[self.config.on_alarm](self, step, name, text)

    def _write(self, step: int, name: str, finding: Finding) -> str:
        alarm = self.alarms[name]
        text = (
            f"{finding.text[0].upper()}{finding.text[1:]}. Usual cause: {alarm.cause}. Usual cure: {alarm.cure}. "
            f"More in docs/alarms.md#{name}"
        )
        assert self._recorder is not None, "begin() comes first"
        self._recorder.alarm(step, name, text, finding.figure)
        log.warning("alarm at step %d, %s: %s", step, name, text)
        return text

    def _may_restart(self, step: int, name: str) -> tuple[bool, str]:
        """Whether --on-alarm restart begins anew for this alarm, and if not why."""
        assert self.config.steps is not None
        obstacles = {
            "another seed would not change this": not self.alarms[name].restartable,
            f"step {step} is after the first fifth": step > EARLY * self.config.steps,
            f"{self.restarts} attempts were given up already": self.restarts >= RESTARTS,
        }
        wanted = self.config.on_alarm == "restart"
        return wanted and not any(obstacles.values()), next((why for why, holds in obstacles.items() if holds), "")

    def _warn(self, step: int, name: str, text: str) -> None:
        """The run goes on."""

    def _stop(self, step: int, name: str, text: str) -> None:
        self.ended_by = self.ended_by or name

    def _restart(self, step: int, name: str, text: str) -> None:
        allowed, obstacle = self._may_restart(step, name)
        if allowed:
            raise Restart(name, step, text)
        log.warning("--on-alarm restart: the run goes on, since %s", obstacle)

    def state_dict(self) -> dict[str, Any]:
        """What was raised, for how long what has held, and what each alarm remembers."""
        alarms = {name: vars(self.events[name]) | {"own": alarm.state_dict()} for name, alarm in self.alarms.items()}
        return {"alarms": alarms, "probed": self.probed, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on watching; an alarm that the state does not know of begins anew."""
        require_numbers([state["probed"], state["alarms"]])
        self.probed, self.fingerprint = int(state["probed"]), str(state["fingerprint"])
        for name, saved in state["alarms"].items():
            if name in self.alarms:
                event = self.events[name]
                event.held, event.clear, event.raised = int(saved["held"]), int(saved["clear"]), bool(saved["raised"])
                self.alarms[name].load_state_dict(saved["own"])


_REACTIONS: dict[str, Callable[[AlarmMonitor, int, str, str], None]] = {
    "warn": AlarmMonitor._warn,
    "stop": AlarmMonitor._stop,
    "restart": AlarmMonitor._restart,
}


def _in_unit(pictures: Tensor) -> Tensor:
    """uint8, or floats in [0, 1] -> float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1 if pictures.dtype == torch.uint8 else pictures.float() * 2 - 1
