"""Figures of one recipe over seeds: mean, standard deviation and the interval of the mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, key_of, subject_of
from cyclegan.report.recipes import SEED, LabelledRun, option, unequal
from cyclegan.report.run_record import number_of
from cyclegan.report.uncertainty import of_mean, variance

WANTED = 3  # seeds that a table of a paper needs


def require_seeds(runs: Sequence[LabelledRun]) -> None:
    """Raise `UsageError` unless the runs differ in their seed and in nothing else."""
    for number, run in enumerate(runs):
        steps = [runs[0].record.step, run.record.step]
        trained = [f"the steps of training ({steps[0]} and {steps[1]})"] if steps[0] != steps[1] else []
        if different := ", ".join([*unequal(runs[0].record, run.record), *trained]):
            raise UsageError(
                f"--seeds: {runs[0].label} and {run.label} differ in more than the seed: {different}; name runs of one "
                "recipe, or use `cyclegan compare`"
            )
        for other in runs[:number]:
            if option(other.record, SEED) == option(run.record, SEED):
                raise UsageError(
                    f"--seeds: {other.label} and {run.label} have the same --seed {option(run.record, SEED)}; name "
                    "one run for each seed"
                )


def over_seeds(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation, 95 % interval of the mean and values of each figure that all evaluations have.

    The interval is by Student's t. Of a single value there is neither deviation nor interval: None.
    """
    found = {}
    for key in evaluations[0]["metrics"]:
        values = [value for it in evaluations if (value := number_of(it["metrics"].get(key))) is not None]
        if len(values) == len(evaluations):
            mean = of_mean(values)
            found[key] = {
                "mean": mean.value,
                "std": math.sqrt(variance(values)) if len(values) > 1 else None,
                "interval": [mean.value - mean.reach, mean.value + mean.reach] if len(values) > 1 else None,
                "values": values,
            }
    return found


def seeds_lines(
    figures: Mapping[str, Mapping[str, Any]], labels: Sequence[str], names: Mapping[str, str], directions: Sequence[str]
) -> Iterator[str]:
    """The shown figures in a table, with the value of each run under its label."""
    rows = [("", ["mean", "± std", "95 % of the mean", *labels])]
    for direction in map(Direction.parse, directions):
        for name, figure in FIGURES.items():
            found = figures.get(key_of(name, direction))
            if found is None or not figure.shown:
                continue
            write = figure.written
            low, high = map(write, found["interval"]) if found["interval"] else ("", "")
            spread = [write(found["std"]), f"{low} to {high}"] if low else ["", ""]
            label = f"{figure.label}, {subject_of(name, direction, names)}"
            rows.append((label, [write(found["mean"]), *spread, *map(write, found["values"])]))
    first = max(len(label) for label, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    for label, cells in rows:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield "  ".join([f"{label:{first}}", *padded]).rstrip()
