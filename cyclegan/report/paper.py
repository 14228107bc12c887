"""A figure for a paper: figures of one recipe over seeds, and a sentence to quote with what it lacks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, few_pictures, key_of, subject_of
from cyclegan.report.recipes import SEED, LabelledRun, option, unequal
from cyclegan.report.run_record import mapping, nested, number_of, whole
from cyclegan.report.tables import Column, interval_of
from cyclegan.report.uncertainty import of_mean, variance

WANTED = 3  # seeds that a table of a paper needs
_REFERENCES = {"untranslated": "source", "real": "real"}
QUOTED = "kid"  # by which training chooses the best, too, unless told otherwise


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
    figures = [it["metrics"] for it in evaluations]
    return {key: spread for key in figures[0] if (spread := _spread(key, figures)) is not None}


def _spread(key: str, figures: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    values = [value for it in figures if (value := number_of(it.get(key))) is not None]
    if len(values) < len(figures):
        return None
    mean = of_mean(values)
    return {
        "mean": mean.value,
        "std": math.sqrt(variance(values)) if len(values) > 1 else None,
        "interval": [mean.value - mean.reach, mean.value + mean.reach] if len(values) > 1 else None,
        "values": values,
    }


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


def too_few(figures: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Warning about figures of fewer pictures than they need; an empty text where there are enough."""
    pictures = mapping(protocol.get("pictures")).items()
    counts = [whole(nested(about, "count")) for role, about in pictures if not str(role).startswith("learned from")]
    known = [count for count in counts if count is not None]
    clauses = few_pictures(figures, min(known)) if known else []
    return f"{min(known)} held-out pictures are few ({'; '.join(clauses)})" if clauses else ""


def quotable(
    runs: Sequence[Sequence[Column]], seeds: Sequence[Any], directions: Sequence[Direction], names: Mapping[str, str]
) -> Iterator[str]:
    """A sentence to quote on the KID of each direction, then a line on what a paper would miss.

    Each run has its columns, the last generators first, and its seed, None if unknown. Of several runs a figure is the
    mean over seeds with the standard deviation. Without that figure there is no line.
    """
    lacks = dict[str, None]()
    for direction in directions if runs and all(runs) else ():
        last = [found[0] for found in runs]
        if (figure := _quoted(last, direction)) is None:
            continue
        lacks |= dict.fromkeys(_lacks(runs, seeds, direction))
        known = [str(seed) for seed in seeds if seed is not None]
        which = [f"{last[0].title[:1].lower()}{last[0].title[1:]} of {_number(len(runs), 'run')}"]
        which += [f"{'seed' if len(known) == 1 else 'seeds'} {', '.join(known)}"] if known else []
        which += [f"step {last[0].step}"] if last[0].step is not None else []
        parts = [f"{FIGURES[QUOTED].label}, {subject_of(QUOTED, direction, names)}: {figure}, {', '.join(which)}"]
        parts += [_measured(last[0], direction, names), _references(last[0], direction)]
        parts += [_chosen(last)] if last[0].title.startswith("Best") else []
        for column in runs[0][1:]:
            best = [it for found in runs for it in found[1:] if it.metric == column.metric]
            if len(best) == len(runs) and (of_best := _quoted(best, direction)) is not None:
                step = f" at step {best[0].step}" if len(runs) == 1 and best[0].step is not None else ""
                parts.append(f"best by {column.metric} {of_best}{step}, {_chosen(best)}")
        yield f"{'; '.join(filter(None, parts))}."
    if lacks:
        yield f"For a paper this lacks: {'; '.join(lacks)}."


def _quoted(found: Sequence[Column], direction: Direction) -> str | None:
    """The figure of some generators with its interval, or over seeds with its standard deviation."""
    key, figure = key_of(QUOTED, direction), FIGURES[QUOTED]
    spread = _spread(key, [column.figures for column in found])
    if spread is None:
        return None
    text = figure.written(spread["mean"])
    if spread["std"] is not None:
        return f"{text} ± {figure.written(spread['std'])} (95 % of the mean: {figure.interval(*spread['interval'])})"
    ends = interval_of(found[0].intervals.get(key))
    return text if ends is None else f"{text} ({figure.interval(*ends)})"


def _measured(column: Column, direction: Direction, names: Mapping[str, str]) -> str:
    """The pictures and the features, as far as the protocol has them."""
    sides = [
        f"{count} test pictures of {names.get(domain, domain.upper())}"
        for domain in (direction.source, direction.target)
        if (count := whole(nested(column.protocol, "pictures", f"held out {domain.upper()}", "count"))) is not None
    ]
    size = whole(column.protocol.get("size"))
    pictures = " against ".join(sides) + (f" at {size} px" if sides and size else "")
    features = mapping(column.protocol.get("features"))
    name, digest = (features.get(key) for key in ("name", "sha256"))
    words = " ".join(filter(None, (name and str(name), digest and f"({str(digest)[:12]})")))
    return "; ".join(filter(None, (pictures, words and f"features {words}")))


def _references(column: Column, direction: Direction) -> str:
    """The figure of untranslated and of real pictures."""
    keys = {label: key_of(f"{QUOTED}_{part}", direction) for label, part in _REFERENCES.items()}
    values = {label: number_of(column.figures.get(key)) for label, key in keys.items()}
    return ", ".join(f"{label} {FIGURES[QUOTED].written(at)}" for label, at in values.items() if at is not None)


def _chosen(found: Sequence[Column]) -> str:
    """The number of evaluations that chose generators, and on which pictures."""
    counts = [column.evaluations for column in found if column.evaluations is not None]
    number = "an unknown number of evaluations"
    if len(counts) == len(found):
        number = _number(max(counts), "evaluation")
        number = number if min(counts) == max(counts) else f"{min(counts)} to {number}"
    on = "on these pictures" if all(column.on_these for column in found) else "on held-out pictures of the run"
    return f"chosen from {number} {on}"


def _lacks(runs: Sequence[Sequence[Column]], seeds: Sequence[Any], direction: Direction) -> Iterator[str]:
    """The parts of a figure for a paper that are missing."""
    last, best = [found[0] for found in runs], [column for found in runs for column in found[1:]]
    if len(runs) < WANTED:
        yield f"seeds, of which a paper needs {WANTED} (this is {_number(len(runs), 'run')}; see --seeds)"
    if any(seed is None for seed in seeds):
        yield "the seed"
    if any(not found[1:] for found in runs):
        yield "the best generators beside the last"
    elif any(column.evaluations is None for column in best):
        yield "the number of evaluations that chose the best"
    if any(column.source == "in training" for column in (*last, *best)):
        yield "a measurement by `cyclegan evaluate`"
    for column in last:
        if len(runs) == 1 and interval_of(column.intervals.get(key_of(QUOTED, direction))) is None:
            yield "an interval"
        if not direction.from_noise and key_of(f"{QUOTED}_source", direction) not in column.figures:
            yield "the figure of untranslated pictures"
        if not nested(column.protocol, "features", "sha256"):
            yield "the features"
        if few := too_few(column.figures, column.protocol):
            yield f"pictures: {few}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
