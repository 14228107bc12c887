"""Which looks at the generators were the best, whether it is time to stop, and the best generators on the disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from cyclegan.errors import CycleganError, reason_of
from cyclegan.evaluation.protocol import clean
from cyclegan.evaluation.selection import Criterion, read_best, write_best
from cyclegan.training.storage.checkpoint import best_path, require_numbers, save_best

log = logging.getLogger("cyclegan")


class BestModel:
    """Compares figures with the best so far.

    What it has seen is saved with the state, so that a resumed run decides as an uninterrupted one. Beside that,
    RUN/best.json says which generators are on the disk. They give way to better ones only, be they of this run or of
    the branch of it that was lost when it was killed between a look and the next state.
    """

    def __init__(self, run: Path, criteria: tuple[Criterion, ...], patience: int) -> None:
        self.run = run
        self.criteria = criteria
        self.patience = patience
        self.stale = 0  # looks in a row without a better first figure
        self.best: dict[str, dict[str, Any]] = {}  # by criterion the step and the value of the best look
        self.conditions: dict[str, Any] = {}  # what the figures hang on: they compare where this is equal

    @property
    def first(self) -> Criterion:
        """The criterion that patience goes by."""
        return self.criteria[0]

    @property
    def exhausted(self) -> bool:
        """Whether there have been `patience` looks in a row without a better first figure."""
        return 0 < self.patience <= self.stale

    @property
    def reason(self) -> str:
        """Why the run ends where it is `exhausted`, and how it would go on."""
        best = self.best.get(self.first.name)
        when = f"since step {best['step']} ({best['value']:.4g})" if best else "at any step"
        return (
            f"{self.first.name} has not become better {when}, in {self.stale} evaluations; --patience 0, or more than "
            f"{self.stale}, goes on"
        )

    def begin(self, conditions: dict[str, Any]) -> None:
        """Say what the figures hang on, plain values. Where that is not what it was, nothing compares any more."""
        if self.conditions and self.conditions != conditions:
            log.info("the judge or the held-out pictures are others than before; the best are chosen anew")
            self.best, self.stale = {}, 0
        self.conditions = conditions

    def compare(self, step: int, values: Mapping[str, float]) -> Iterator[str]:
        """Take in the value of each criterion; yields what is to be said of it. NaN is never better."""
        for criterion in self.criteria:
            value, before = values[criterion.name], self.best.get(criterion.name)
            improved = criterion.improves(value, None if before is None else before["value"])
            if improved:
                self.best[criterion.name] = {"step": step, "value": value}
            if criterion is self.first:
                self.stale = 0 if improved else self.stale + 1
            beside = f"best so far {before['value']:.4g} at step {before['step']}" if before else "none so far"
            yield f"{criterion.name} {value:.4g} ({'the best so far' if improved else beside})"

    def keep(
        self,
        step: int,
        values: Mapping[str, float],
        figures: Mapping[str, float],
        generators: nn.ModuleDict,
        info: dict[str, Any],
    ) -> Path | None:
        """Put `generators` on the disk where they are better: first the files, then the record of them.

        So a file is never worse than what the record says. Returns the file by the first criterion where it was
        written. A full disk is a warning; the next better ones are tried again.
        """
        try:
            record = read_best(self.run)
            better = [one for one in self.criteria if one.improves(values[one.name], self._kept(record, one))]
            for criterion in better:
                path = save_best(self._folder, generators, info, step, criterion.name)
                record[criterion.name] = {
                    "step": step,
                    "value": values[criterion.name],
                    "better": criterion.better,
                    "file": path.relative_to(self.run).as_posix(),
                    "figures": clean(figures),
                    **self.conditions,
                }
            if better:
                write_best(self.run, record)
        except (CycleganError, OSError) as error:
            log.warning("the best generators could not be kept (%s); training goes on", reason_of(error))
            return None
        return best_path(self._folder, self.first.name) if self.first in better else None

    def state_dict(self) -> dict[str, Any]:
        """What decides about the best and about the end."""
        return {
            "metric": self.first.name,
            "stale": self.stale,
            "best": {name: dict(entry) for name, entry in self.best.items()},
            "conditions": self.conditions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on, with other criteria as far as they were looked at before."""
        require_numbers([state["stale"], state["best"]])
        names = {criterion.name for criterion in self.criteria}
        self.conditions = dict(state["conditions"])
        self.best = {
            name: {"step": int(entry["step"]), "value": float(entry["value"])}
            for name, entry in state["best"].items()
            if name in names
        }
        self.stale = int(state["stale"]) if state["metric"] == self.first.name else 0

    @property
    def _folder(self) -> Path:
        return self.run / "checkpoints"

    def _kept(self, record: Mapping[str, Any], criterion: Criterion) -> float | None:
        """The figure of the generators on the disk; None where there are none, or none that compare."""
        entry = record.get(criterion.name)
        if entry is None or not best_path(self._folder, criterion.name).exists():
            return None
        comparable = {name: entry.get(name) for name in self.conditions} == self.conditions
        return float(entry["value"]) if comparable else None
