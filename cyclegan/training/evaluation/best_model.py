"""The best generators by each criterion, in memory and on the disk, and early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from cyclegan.errors import CycleganError, reason_of
from cyclegan.evaluation.metrics.metric import Evaluation
from cyclegan.evaluation.metrics.uncertainty import spread_about_line
from cyclegan.evaluation.protocol import clean, listed
from cyclegan.evaluation.selection import Criterion, read_best, write_best
from cyclegan.training.storage.checkpoint import best_path, require_numbers, save_best

RECENT = 5  # evaluations that tell how much a value varies from one to the next

log = logging.getLogger("cyclegan")


class BestModel:
    """Compares figures with the best so far, which others beat only by more than the spread of the last evaluations.

    Of many evaluations of the same generators the luckiest would count as the best otherwise. Small steady improvements
    count in the end, since they add up against the best, which stays.

    Its memory is saved with the state, so that a resumed run decides as an uninterrupted one. Beside that,
    RUN/best.json names the generators on the disk. They are replaced by better ones only, be they of this run or of
    the branch that was lost when it was killed between an evaluation and the next state.
    """

    def __init__(self, run: Path, criteria: tuple[Criterion, ...], patience: int) -> None:
        self.run = run
        self.criteria = criteria
        self.patience = patience
        self.stale = 0  # evaluations in a row without an improvement of the first criterion
        self.best: dict[str, dict[str, Any]] = {}  # by criterion, step and value of the best
        self.recent: dict[str, list[float]] = {}  # by criterion, values of the last evaluations
        self.evaluations: dict[str, int] = {}  # by criterion, those that the best was chosen from, if all were counted
        self.conditions: dict[str, Any] = {}  # that figures depend on: they compare where these are equal

    @property
    def first(self) -> Criterion:
        """The criterion of early stopping."""
        return self.criteria[0]

    @property
    def exhausted(self) -> bool:
        """True after `patience` evaluations in a row without an improvement of the first criterion."""
        return 0 < self.patience <= self.stale

    @property
    def reason(self) -> str:
        """The reason for the end of an `exhausted` run, and the way to go on."""
        best = self.best.get(self.first.name)
        when = f"since step {best['step']} ({best['value']:.4g})" if best else "at any step"
        return (
            f"{self.first.name} has not become better {when}, in {self.stale} evaluations; --patience 0, or more than "
            f"{self.stale}, goes on"
        )

    def begin(self, conditions: dict[str, Any]) -> None:
        """Set the conditions of the figures, plain values. Where they have changed, the best are forgotten."""
        if self.conditions and self.conditions != conditions:
            log.info("judge, features or held-out pictures are others than before; the best are chosen anew")
            self.best, self.recent, self.evaluations, self.stale = {}, {}, {}, 0
        self.conditions = conditions

    def compare(self, step: int, values: Mapping[str, float]) -> Iterator[str]:
        """Compare the value of each criterion; yields a clause for the log on each. NaN is never better."""
        for criterion in self.criteria:
            value, before = values[criterion.name], self.best.get(criterion.name)
            if math.isfinite(value):
                self._count(criterion.name)
                self.recent[criterion.name] = [*self.recent.get(criterion.name, ()), value][-RECENT:]
            spread = self.spread(criterion)
            improved = criterion.improves(value, None if before is None else before["value"], spread or 0.0)
            if improved:
                self.best[criterion.name] = {"step": step, "value": value}
            if criterion is self.first:
                self.stale = 0 if improved else self.stale + 1
            beside = f"best so far {before['value']:.4g} at step {before['step']}" if before else "none so far"
            noise = "" if spread is None else f", spread {spread:.4g}"
            yield f"{criterion.name} {value:.4g} ({'the best so far' if improved else beside}{noise})"

    def spread(self, criterion: Criterion) -> float | None:
        """Noise of the last five evaluations, the newest among them; None for fewer than three."""
        return spread_about_line(self.recent.get(criterion.name, ()))

    def keep(
        self,
        step: int,
        values: Mapping[str, float],
        evaluation: Evaluation,
        generators: nn.ModuleDict,
        info: dict[str, Any],
    ) -> Path | None:
        """Write `generators` where they are better: first the files, then the record of them.

        So a file is never worse than its record, which gets the last values, their spread and the number of evaluations
        in any case. Returns the file of the first criterion if it was written. A full disk is a warning; the next
        better ones are tried again.
        """
        try:
            record = read_best(self.run)
            better = [
                one
                for one in self.criteria
                if one.improves(values[one.name], self._kept(record, one), self.spread(one) or 0.0)
            ]
            for criterion in better:
                path = save_best(self._folder, generators, info, step, criterion.name)
                record[criterion.name] = {
                    "step": step,
                    "value": values[criterion.name],
                    "better": criterion.better,
                    "file": path.relative_to(self.run).as_posix(),
                    "figures": clean(evaluation.figures),
                    "intervals": listed(evaluation.intervals),
                    **self.conditions,
                }
            for criterion in self.criteria:
                if criterion.name in record and criterion.name in self.recent:
                    recent = {"recent": self.recent[criterion.name], "spread": self.spread(criterion)}
                    record[criterion.name] |= recent | {"evaluations": self.evaluations.get(criterion.name)}
            if record:
                write_best(self.run, record)
        except (CycleganError, OSError) as error:
            log.warning("the best generators could not be kept (%s); training goes on", reason_of(error))
            return None
        return best_path(self._folder, self.first.name) if self.first in better else None

    def state_dict(self) -> dict[str, Any]:
        """Memory of the best and of early stopping."""
        return {
            "metric": self.first.name,
            "stale": self.stale,
            "best": {name: dict(entry) for name, entry in self.best.items()},
            "recent": {name: list(values) for name, values in self.recent.items()},
            "evaluations": dict(self.evaluations),
            "conditions": self.conditions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, with other criteria as far as they were evaluated before."""
        # Missing in states from before they were kept
        recent, evaluations = (state.get(name, {}) for name in ("recent", "evaluations"))
        require_numbers([state["stale"], state["best"], recent, evaluations])
        names = {criterion.name for criterion in self.criteria}
        self.conditions = _with_features(state["conditions"])
        self.best = {
            name: {"step": int(entry["step"]), "value": float(entry["value"])}
            for name, entry in state["best"].items()
            if name in names
        }
        self.recent = {name: [float(value) for value in values] for name, values in recent.items() if name in names}
        self.evaluations = {name: int(count) for name, count in evaluations.items() if name in names}
        self.stale = int(state["stale"]) if state["metric"] == self.first.name else 0

    def _count(self, name: str) -> None:
        """Count an evaluation, unless a state from before they were counted has left out earlier ones."""
        if name in self.evaluations or not (name in self.recent or name in self.best):
            self.evaluations[name] = self.evaluations.get(name, 0) + 1

    @property
    def _folder(self) -> Path:
        return self.run / "checkpoints"

    def _kept(self, record: Mapping[str, Any], criterion: Criterion) -> float | None:
        """The value of the generators on the disk; None where there are none, or none that compare."""
        entry = record.get(criterion.name)
        if entry is None or not best_path(self._folder, criterion.name).exists():
            return None
        comparable = {name: _with_features(entry).get(name) for name in self.conditions} == self.conditions
        return float(entry["value"]) if comparable else None


def _with_features(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions of any version, in their order: older ones name no features, which were those of the judge."""
    features = {"features": conditions["judge"]} if "features" not in conditions and "judge" in conditions else {}
    return {**conditions, **features}
