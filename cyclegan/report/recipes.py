"""Recipes: the runs that differ in nothing but the seed, with the uncertainty of their figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from cyclegan.errors import UsageError
from cyclegan.report import text
from cyclegan.report.protocols import unlike
from cyclegan.report.run_record import RunRecord, number_of
from cyclegan.report.tables import Column, columns, interval_of, protocol_in_training
from cyclegan.report.uncertainty import Estimate, Variance, about_line, of_mean, quantile

_UNIMPORTANT = {"device", "workers", "cache", "wandb", "wandb_project", "compile", "checkpoint_activations"}
_UNIMPORTANT |= {"log_every", "sample_every", "samples", "state_every", "generators_every", "on_alarm"}
_UNIMPORTANT |= {"evaluate_every", "evaluate_pictures", "metric", "features", "classes"}
SEED = "seed"
# Standard deviation over seeds in units of that of one run's last evaluations about their line
SEEDS_PER_EVALUATION = 2.0


@dataclass(frozen=True)
class LabelledRun:
    """A run with its label."""

    label: str
    record: RunRecord

    @cached_property
    def last(self) -> Column | None:
        """Figures of the last generators."""
        return next((column for column in columns(self.record) if column.metric is None), None)

    @property
    def protocol(self) -> Mapping[str, Any]:
        return self.last.protocol if self.last else {}

    @property
    def step(self) -> int:
        """The step of the measured generators, or else that of the run."""
        return self.record.step if self.last is None or self.last.step is None else self.last.step

    def figure(self, key: str) -> float | None:
        """A figure of the last generators."""
        return number_of(self.last.figures.get(key)) if self.last else None

    def by_pictures(self, key: str) -> Variance | None:
        """Variance of a figure over other pictures of the same kind, from its stored interval."""
        ends = interval_of(self.last.intervals.get(key)) if self.last else None
        return None if ends is None else Variance(((ends[1] - ends[0]) / 2 / quantile(math.inf)) ** 2)

    def in_training(self, key: str, name: str) -> Variance | None:
        """Variance of figure `name` over seeds, from its last evaluations in training if it was measured alike."""
        if unlike(name, [self.protocol, protocol_in_training(self.record)], pictures=False):
            return None
        about = about_line(self.record.recent.get(f"evaluation/{key}", ()))
        return about and Variance(SEEDS_PER_EVALUATION**2 * about.value, about.freedom)


@dataclass(frozen=True)
class Recipe:
    """One run, or several of different seeds."""

    label: str
    runs: tuple[LabelledRun, ...]

    def values(self, key: str) -> list[float]:
        """A figure of each run; empty if one of them lacks it."""
        values = [value for run in self.runs if (value := run.figure(key)) is not None]
        return values if len(values) == len(self.runs) else []

    def estimate(self, key: str, name: str) -> Estimate | None:
        """Estimate of figure `name`, which this key belongs to; None if a run lacks it.

        Of several seeds: their mean, whose variance is that over seeds. All were measured on the same pictures, so one
        run counts with at least the variance by pictures. Of a single run: its value, whose variance is that by
        pictures and that of its last evaluations in training.
        """
        values = self.values(key)
        by_pictures = [part for run in self.runs if (part := run.by_pictures(key)) is not None]
        if len(values) > 1:
            least = sum(part.value for part in by_pictures) / len(by_pictures) if by_pictures else 0.0
            return of_mean(values, least)
        parts = (*by_pictures, self.runs[0].in_training(key, name))
        return Estimate(values[0], tuple(part for part in parts if part is not None)) if values else None

    def knows_seeds(self, key: str, name: str) -> bool:
        """True if the estimate holds more than the choice of pictures."""
        return len(self.runs) > 1 or self.runs[0].in_training(key, name) is not None

    @property
    def about(self) -> str:
        """The label, with the runs that it stands for."""
        runs = ", ".join(run.label for run in self.runs)
        return self.label if len(self.runs) == 1 else f"{self.label} ({len(self.runs)} seeds: {runs})"


def labelled(records: Sequence[RunRecord]) -> list[LabelledRun]:
    """Label runs with the names of their folders, and as much of the paths as is needed to distinguish them."""
    paths = [record.path.resolve() for record in records]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            return [LabelledRun(label, record) for label, record in zip(labels, records, strict=True)]
    raise UsageError(f"RUN: {paths[0]} is named more than once; name each run once")


def recipes(runs: Sequence[LabelledRun]) -> list[Recipe]:
    """Group runs by recipe, in their order. A second run of one seed is no further seed, and begins another group."""
    groups: list[list[LabelledRun]] = []
    for run in runs:
        for group in groups:
            seeds = [option(other.record, SEED) for other in group]
            new_seed = option(run.record, SEED) not in seeds
            if new_seed and group[0].step == run.step and not any(unequal(group[0].record, run.record)):
                group.append(run)
                break
        else:
            groups.append([run])
    names = [_common_name(group) for group in groups]
    taken = [*names, *(run.label for run in runs)]
    return [
        Recipe(name if name and (len(group) == 1 or taken.count(name) == 1) else f"{group[0].label} …", tuple(group))
        for name, group in zip(names, groups, strict=True)
    ]


def differing(records: Sequence[RunRecord]) -> list[str]:
    """Options that differ from run to run, without those that change nothing of the training."""
    names = dict.fromkeys(name for record in records for name in record.config)
    return [
        name
        for name in names
        if name not in _UNIMPORTANT and any(option(it, name) != option(records[0], name) for it in records)
    ]


def option(record: RunRecord, name: str) -> Any:
    """Value of an option in a run. An option that is newer than the run had the effect of today's default."""
    return record.config.get(name, text.DEFAULTS.get(name))


def unequal(*records: RunRecord) -> Iterator[str]:
    """Options, other than the seed, in which runs differ, and whether their pictures do, in words."""
    yield from (f"--{name.replace('_', '-')}" for name in differing(records) if name != SEED)
    if len({str(record.meta.get("data_fingerprint")) for record in records}) > 1:
        yield "the pictures"


def _common_name(group: Sequence[LabelledRun]) -> str:
    """The beginning of all labels, without the number of the seed."""
    if len(group) == 1:
        return group[0].label
    letters = takewhile(lambda same: len(set(same)) == 1, zip(*(run.label for run in group), strict=False))
    return "".join(letter for letter, *_ in letters).rstrip("0123456789").rstrip(" -_./=")
