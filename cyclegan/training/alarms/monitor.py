"""Monitor of all alarms of a run: each is raised once per event, and may stop or restart the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from cyclegan.data.held_out import held_out_pictures
from cyclegan.errors import CycleganError
from cyclegan.system.pixels import to_unit
from cyclegan.training.alarms import probe as probing
from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, RunInfo
from cyclegan.training.alarms.machine import NotFinite
from cyclegan.training.alarms.registry import ALARMS
from cyclegan.training.loop_io.health import NonFiniteGuard, NotFiniteError
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.storage.attempts import given_up
from cyclegan.training.storage.checkpoint import require_numbers
from cyclegan.training.update.precision import Precision

log = logging.getLogger("cyclegan")

EARLY = 0.2  # share of the steps in which a restart is cheaper than going on
RESTARTS = 2  # at most: what fails with three seeds does not fail by the seed


class AlarmRecorder(Protocol):
    """Recorder of alarms: the tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def alarm(self, step: int, name: str, text: str, figure: float) -> None: ...


class Restart(CycleganError):
    """Request to begin the run anew with another seed, because of the alarm `name`."""

    def __init__(self, name: str, step: int, text: str) -> None:
        super().__init__(f"given up at step {step} by the alarm {name}: {text}")
        self.name = name
        self.step = step
        self.text = text


class StoppedByAlarm(CycleganError):
    """The run was ended by an alarm, by --on-alarm stop."""

    on_every_rank = True


class Event:
    """State of one alarm: for how long it has held, and whether it is raised."""

    def __init__(self) -> None:
        self.held = 0  # observations in a row
        self.clear = 0
        self.raised = False

    def hold(self, patience: int) -> bool:
        """Count an observation that shows it; whether to raise it now: after `patience` in a row, and once."""
        self.held, self.clear = self.held + 1, 0
        new = self.held >= patience and not self.raised
        self.raised |= new
        return new

    def clear_after(self, patience: int) -> None:
        """Count an observation that does not show it; `patience` of them in a row end the event."""
        self.held, self.clear = 0, self.clear + 1
        if self.clear >= patience:
            self.raised = False


class AlarmMonitor:
    """The alarms of a `run`, whose skipped steps `guard` counts.

    Nothing here draws a random number or changes a network: the losses are the same with and without. Each rank has
    them and observes the same figures, so that all come to the same decisions.
    """

    def __init__(self, run: ResolvedRun, guard: NonFiniteGuard) -> None:
        self.run = run
        self.config, self.method = run.config, run.method
        self.guard = guard
        self.restarts = len(given_up(run.path))
        sizes = {
            domain: sum(weight.numel() for weight in network.parameters())
            for domain, network in run.method.discriminators.items()
        }
        adversarial = run.method.adversarial
        equilibrium = None if adversarial is None else adversarial.equilibrium
        facts = RunInfo(run.config, run.sets, equilibrium, sizes, augmented=run.method.augmented)
        self.alarms: dict[str, Alarm] = {name: kind(facts) for name, kind in ALARMS.items()}
        self.events = {name: Event() for name in self.alarms}
        self.probed = 0  # the step of the last probe
        self.fingerprint = ""  # of the pictures that were checked before the first step
        self.ended_by = ""  # the alarm that ends the run
        self._pictures: dict[str, Tensor] | None = None
        self._recorder: AlarmRecorder | None = None

    def begin(self, step: int, recorder: AlarmRecorder) -> None:
        """Check what can be known without a step, unless these same pictures were checked before."""
        self._recorder = recorder
        if self.fingerprint == self.run.sets.fingerprint:
            return
        self.fingerprint = self.run.sets.fingerprint
        for name, alarm in self.alarms.items():
            finding = alarm.begin()
            if finding is not None and self.events[name].hold(1):
                self._raise(step, name, finding)
            elif finding is None and not alarm.observes:
                self.events[name].clear_after(1)  # these pictures, other than before, are fine

    def look(self, step: int, row: Mapping[str, float]) -> None:
        """Check a row of the journal. Raises `Restart` where the run is to be begun anew."""
        self._observe(Observation("row", step, row))

    def probe(self, step: int, generators: nn.ModuleDict, precision: Precision) -> None:
        """Every 300 steps, check some translations by `generators`. Raises `Restart`."""
        if not step or step % probing.EVERY or step == self.probed:  # the last: a resume begins where it was saved
            return
        self.probed = step
        if self._pictures is None:
            shown = held_out_pictures(self.run.sets, self.config, probing.PICTURES, self.run.kinds)
            self._pictures = {name: to_unit(pictures) for name, pictures in shown.items()}
        pictures = {name: some.to(precision.device) for name, some in self._pictures.items()}
        figures = probing.probe(pictures, generators, self.method, precision, self.run.ranks)
        assert self._recorder is not None, "begin() comes first"
        self._recorder.log(step, {f"probe/{name}": value for name, value in figures.items()})
        self._observe(Observation("probe", step, figures))

    def check_finite(self, step: int) -> int:
        """The number of skipped steps. Raises `NotFiniteError`, an alarm too, or `Restart`."""
        try:
            return self.guard.check()
        except NotFiniteError as error:
            if self.events["not-finite"].hold(1):
                self._write(step, "not-finite", NotFinite.finding(error.row, error.row))
            if self._may_restart(step, "not-finite")[0]:
                raise Restart("not-finite", step, str(error)) from error
            raise

    def raise_if_stopped(self, step: int) -> None:
        """Raise `StoppedByAlarm` if an alarm ends the run early; to be called when its state is saved."""
        if self.ended_by and step < self.run.steps:
            raise StoppedByAlarm(
                f"--on-alarm stop: ended at step {step} of {self.run.steps} by the alarm {self.ended_by}; state "
                f"saved, go on with `cyclegan train --resume {self.run.path} --on-alarm warn`, if not by its cure"
            )

    def _observe(self, observation: Observation) -> None:
        for name, alarm in self.alarms.items():
            alarm.note(observation)
            if alarm.observes != observation.kind:
                continue
            finding = alarm.look(observation)
            if finding is None:
                self.events[name].clear_after(alarm.patience)
            elif self.events[name].hold(alarm.patience):
                self._raise(observation.step, name, finding)

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
        """Check if --on-alarm restart begins anew for this alarm; with the reason if not."""
        obstacles = {
            "another seed would not change this": not self.alarms[name].restartable,
            f"step {step} is after the first fifth": step > EARLY * self.run.steps,
            f"{self.restarts} attempts were given up already": self.restarts >= RESTARTS,
        }
        wanted = self.config.on_alarm == "restart"
        return wanted and not any(obstacles.values()), next((why for why, holds in obstacles.items() if holds), "")

    def _warn(self, step: int, name: str, text: str) -> None:
        """Go on."""

    def _stop(self, step: int, name: str, text: str) -> None:
        self.ended_by = self.ended_by or name

    def _restart(self, step: int, name: str, text: str) -> None:
        allowed, obstacle = self._may_restart(step, name)
        if allowed:
            raise Restart(name, step, text)
        log.warning("--on-alarm restart: the run goes on, since %s", obstacle)

    def state_dict(self) -> dict[str, Any]:
        """The event and the memory of each alarm."""
        alarms = {name: vars(self.events[name]) | {"own": alarm.state_dict()} for name, alarm in self.alarms.items()}
        return {"alarms": alarms, "probed": self.probed, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore; an alarm that the state does not know begins anew."""
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
