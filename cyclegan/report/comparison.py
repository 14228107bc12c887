"""Comparison of several runs: their differences, their figures, and warnings about incomparable figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, in_words, key_of, name_of
from cyclegan.report import text
from cyclegan.report.differences import Difference, differences
from cyclegan.report.page import check_libraries, render, write_page
from cyclegan.report.protocols import TERMS, terms_of_pictures
from cyclegan.report.recipes import Recipe, differing, labelled, option, recipes
from cyclegan.report.run_record import RunRecord, read_record
from cyclegan.report.tables import MAIN, Column, columns, written

MOST_RECIPES = 8  # in a comparison, since there are as many colours of curves
MOST = 3 * MOST_RECIPES  # runs: three seeds of each
_ALIKE = 12  # held-out pictures of a direction that a page shows of all runs
_SHOWN = dict.fromkeys((*MAIN, "neither", "class_share", "luminance_correlation", "diversity", "psnr", "ssim"))


@dataclass(frozen=True)
class Comparison:
    """Runs with their labels, tables of texts, and warnings about figures that do not compare."""

    records: Sequence[RunRecord]
    labels: Sequence[str]
    standing: list[tuple[str, list[str]]]  # rows: status, steps, time, alarms
    differences: list[tuple[str, list[str]]]  # an option and its value in each run, if these differ
    figures: list[tuple[str, list[str]]]
    warnings: list[str]
    recipes: list[Recipe]
    pairs: list[Difference]  # what each two recipes differ in, in words

    @property
    def colours(self) -> list[int]:
        """Number of the colour of each run; runs of one recipe share theirs if there are too many."""
        if len(self.labels) <= MOST_RECIPES:
            return list(range(len(self.labels)))
        of_run = {run.label: number for number, recipe in enumerate(self.recipes) for run in recipe.runs}
        return [of_run[label] for label in self.labels]

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
                    "differs": {name: option(record, name) for name in differing(self.records)},
                    "figures": about,
                    "notes": record.notes,
                }
            )
        return {"runs": runs, "warnings": self.warnings, "differences": [pair.as_json() for pair in self.pairs]}


def compare(runs: Sequence[Path]) -> Comparison:
    """Compare the runs in some directories; `UsageError` for too few or too many, or no run."""
    if len(runs) < 2:
        raise UsageError(f"RUN: a comparison is of 2 to {MOST_RECIPES} runs, not of {len(runs)}; name others")
    records = [read_record(run) for run in runs]
    of_labels = labelled(records)
    found_recipes = recipes(of_labels)
    if len(runs) > MOST or len(found_recipes) > MOST_RECIPES:
        raise UsageError(
            f"RUN: a comparison is of 2 to {MOST_RECIPES} runs, or of {MOST} where seeds of one recipe are among them, "
            f"not of {len(runs)} that make {len(found_recipes)} recipes; name fewer"
        )
    found = [columns(record) for record in records]
    return Comparison(
        records,
        [run.label for run in of_labels],
        [
            ("Status", [f"{word}: {reason}" if reason else word for word, reason in map(text.status, records)]),
            ("Steps", [f"{record.step:,}" for record in records]),
            ("Time in training", [text.duration(record.seconds) if record.seconds else "" for record in records]),
            ("Alarms", [", ".join(sorted({alarm.name for alarm in record.alarms})) or "none" for record in records]),
        ],
        [
            (name.replace("_", "-"), [text.plain(option(record, name)) for record in records])
            for name in differing(records)
        ],
        list(_figures(records, found)),
        list(_warnings(records, found)),
        found_recipes,
        differences(found_recipes),
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
        "colours": comparison.colours,
        "pairs": comparison.pairs,
        "charts": comparison_groups(comparison.records, labels, comparison.colours),
        "grids": newest_grids(comparison.records, labels),
        "galleries": alike(comparison.records, labels, _ALIKE),
    }
    return write_page(output, render("compare.html", **context))


def _figures(records: Sequence[RunRecord], found: Sequence[Sequence[Column]]) -> Iterator[tuple[str, list[str]]]:
    """Rows of the last generators' figures, then of the best value of each metric that runs kept generators by."""
    for direction in dict.fromkeys(direction for record in records for direction in record.directions):
        for name in (name for name in _SHOWN if name in FIGURES):
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
    for term in (*TERMS, *terms_of_pictures(protocols)):
        if term.differs(protocols):
            yield f"The {term.plural} differ from run to run, so {term.consequence} compare."
    sources = {run_columns[0].source for run_columns in found if run_columns}
    if len(sources) > 1:
        yield (
            "Some figures come from `cyclegan evaluate` and some from evaluations in training, perhaps on other "
            "pictures: run `cyclegan evaluate` for each."
        )
    steps = {record.step for record in records}
    if len(steps) > 1:
        yield f"The runs have different lengths, from {min(steps):,} to {max(steps):,} steps."
    prints = {str(record.meta.get("data_fingerprint")) for record in records if record.meta.get("data_fingerprint")}
    if len(prints) > 1:
        yield "The runs were trained on different pictures: the fingerprints of their data differ."
