"""Comparison of several runs: their differences, their figures, and warnings about incomparable figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, in_words, key_of, name_of
from cyclegan.report import text
from cyclegan.report.page import check_libraries, render, write_page
from cyclegan.report.run_record import RunRecord, nested, number_of, read_record
from cyclegan.report.tables import MAIN, Column, columns, written

MOST = 8  # runs in a comparison, since there are as many colours of curves
_ALIKE = 12  # held-out pictures of a direction that a page shows of all runs
_SHOWN = (*MAIN, "luminance_correlation", "diversity", "psnr", "ssim")
_UNIMPORTANT = {"device", "workers", "cache", "wandb", "wandb_project", "compile", "checkpoint_activations"}
_UNIMPORTANT |= {"log_every", "sample_every", "samples", "state_every", "generators_every", "on_alarm"}
_UNIMPORTANT |= {"evaluate_every", "evaluate_pictures", "metric", "features", "classes"}

_NONE = "none of the figures"
# Path in a protocol, the plural of its name, and the figures that do not compare if it differs
_TERMS = (
    (("judge", "sha256"), "judges", "the shares taken for the target do not"),
    (("features", "sha256"), "features", "FID, KID and diversity do not"),
    (("size",), "picture sizes", _NONE),
    (("seed",), "seeds of the evaluations", "KID and cycles with noise only roughly"),
)


@dataclass(frozen=True)
class Comparison:
    """Runs with their labels, tables of texts, and warnings about figures that do not compare."""

    records: Sequence[RunRecord]
    labels: Sequence[str]
    standing: list[tuple[str, list[str]]]  # rows: status, steps, time, alarms
    differences: list[tuple[str, list[str]]]  # an option and its value in each run, if these differ
    figures: list[tuple[str, list[str]]]
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """The comparison for programs: figures as numbers, and the options that differ."""
        runs = []
        for record, label in zip(self.records, self.labels, strict=True):
            about = [
                {"which": it.title, "step": it.step, "source": it.source, "metrics": dict(it.figures)}
                for it in columns(record)
            ]
            runs.append(
                {
                    "run": str(record.path),
                    "label": label,
                    "status": record.status.get("status"),
                    "step": record.step,
                    "seconds": round(record.seconds, 1),
                    "alarms": record.alarm_count,
                    "differs": {name: _value(record, name) for name in _differing(self.records)},
                    "figures": about,
                    "notes": record.notes,
                }
            )
        return {"runs": runs, "warnings": self.warnings}


def compare(runs: Sequence[Path]) -> Comparison:
    """Compare the runs in some directories; `UsageError` for fewer than two, more than eight, or no run."""
    if not 2 <= len(runs) <= MOST:
        raise UsageError(f"RUN: a comparison is of 2 to {MOST} runs, not of {len(runs)}; name others")
    records = [read_record(run) for run in runs]
    found = [columns(record) for record in records]
    return Comparison(
        records,
        _labels(records),
        [
            ("Status", [f"{word}: {reason}" if reason else word for word, reason in map(text.status, records)]),
            ("Steps", [f"{record.step:,}" for record in records]),
            ("Time in training", [text.duration(record.seconds) if record.seconds else "" for record in records]),
            ("Alarms", [", ".join(sorted({alarm.name for alarm in record.alarms})) or "none" for record in records]),
        ],
        [
            (name.replace("_", "-"), [text.plain(_value(record, name)) for record in records])
            for name in _differing(records)
        ],
        list(_figures(records, found)),
        list(_warnings(records, found)),
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write the page of a comparison and return its path; raises as `write_report`."""
    check_libraries()
    from cyclegan.report.charts import comparison_groups
    from cyclegan.report.images import alike, newest_grids

    labels = comparison.labels
    context = {
        "labels": labels,
        "tables": [
            ("Status", comparison.standing),
            ("Differences in configuration", comparison.differences),
            ("Figures", comparison.figures),
        ],
        "warnings": comparison.warnings,
        "notes": [
            f"{label}: {note}"
            for record, label in zip(comparison.records, labels, strict=True)
            for note in record.notes
        ],
        "charts": comparison_groups(comparison.records, labels),
        "grids": newest_grids(comparison.records, labels),
        "galleries": alike(comparison.records, labels, _ALIKE),
    }
    return write_page(output, render("compare.html", **context))


def _labels(records: Sequence[RunRecord]) -> list[str]:
    """Names of the folders, with as much of their paths as is needed to distinguish them."""
    paths = [record.path.resolve() for record in records]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise UsageError(f"RUN: {paths[0]} is named more than once; name each run once")


def _differing(records: Sequence[RunRecord]) -> list[str]:
    names = dict.fromkeys(name for record in records for name in record.config)
    return [
        name
        for name in names
        if name not in _UNIMPORTANT and any(_value(it, name) != _value(records[0], name) for it in records)
    ]


def _value(record: RunRecord, name: str) -> Any:
    """Value of an option in a run. An option that is newer than the run had the effect of today's default."""
    return record.config.get(name, text.DEFAULTS.get(name))


def _figures(records: Sequence[RunRecord], found: Sequence[Sequence[Column]]) -> Iterator[tuple[str, list[str]]]:
    """Rows of the last generators' figures, then of the best value of each metric that runs kept generators by."""
    for direction in dict.fromkeys(direction for record in records for direction in record.directions):
        for name in _SHOWN:
            key = key_of(name, direction)
            cells = [written(name, run_columns[0].figures.get(key)) if run_columns else "" for run_columns in found]
            if any(cells):
                yield f"{FIGURES[name].title}, {in_words(direction)}", cells
    metrics = dict.fromkeys(column.metric for run_columns in found for column in run_columns if column.metric)
    for metric in metrics:
        best = (next((column for column in run_columns if column.metric == metric), None) for run_columns in found)
        cells = [f"{written(name_of(metric), column.value)} at step {column.step}" if column else "" for column in best]
        yield f"Best {metric}", cells


def _warnings(records: Sequence[RunRecord], found: Sequence[Sequence[Column]]) -> Iterator[str]:
    """Sentences about differences that keep figures from being compared."""
    protocols = [run_columns[0].protocol if run_columns else {} for run_columns in found]
    held_out = (
        (("pictures", f"held out {domain.upper()}", "names_sha256"), f"held-out pictures of {domain.upper()}", _NONE)
        for domain in sorted({domain for record in records for domain in record.domains})
    )
    for keys, subject, figures in (*_TERMS, *held_out):
        values = [_scalar(protocol, *keys) for protocol in protocols]
        if any(one is not None and other is not None and one != other for one, other in combinations(values, 2)):
            yield f"The {subject} differ from run to run, so {figures} compare."
    sources = {run_columns[0].source for run_columns in found if run_columns}
    if len(sources) > 1:
        yield (
            "Some figures come from `cyclegan evaluate` and some from evaluations in training, perhaps on other "
            "pictures: run `cyclegan evaluate` for each."
        )
    steps = {record.step for record in records}
    if len(steps) > 1:
        yield f"The runs have different lengths, from {min(steps):,} to {max(steps):,} steps."
    prints = {_scalar(record.meta, "data_fingerprint") for record in records} - {None}
    if len(prints) > 1:
        yield "The runs were trained on different pictures: the fingerprints of their data differ."


def _scalar(values: Mapping[str, Any], *keys: str) -> Any:
    value = nested(values, *keys)
    return value if isinstance(value, str) or number_of(value) is not None else None
