"""Several runs beside each other: what differs in them, what came of it, and whether that can be compared at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, in_words, key_of, name_of
from cyclegan.report import text
from cyclegan.report.page import need, render, write_page
from cyclegan.report.run_record import RunRecord, mapping, number_of, read_record
from cyclegan.report.tables import Column, columns, written

MOST = 8  # runs in a comparison: curves of more could not be told apart by their colours
_ALIKE = 12  # held-out pictures of a direction that a page shows of all runs
_SHOWN = ("judge", "kid", "fid", "cycle_l1", "cycle_noise_ratio", "luminance_correlation", "diversity", "psnr", "ssim")
_UNIMPORTANT = {"device", "workers", "cache", "wandb", "wandb_project", "compile", "checkpoint_activations"}
_UNIMPORTANT |= {"log_every", "sample_every", "samples", "state_every", "generators_every", "on_alarm"}
_UNIMPORTANT |= {"evaluate_every", "evaluate_pictures", "metric"}
_DEFAULTS = {item.name: item.default for item in fields(TrainConfig) if item.name != "options"}

_NONE = "none of the figures"
# What of a protocol figures hang on, what to call it, and which of them do not compare where it differs
_TERMS = (
    (("judge", "sha256"), "judges", "the shares taken for the target do not"),
    (("features", "sha256"), "features", "FID, KID and diversity do not"),
    (("size",), "sizes of the squares", _NONE),
    (("seed",), "seeds of the measuring", "KID and cycles with noise only roughly"),
)


@dataclass(frozen=True)
class Comparison:
    """Runs with their labels, tables of texts and what must be known before anything in them is compared."""

    records: Sequence[RunRecord]
    labels: Sequence[str]
    standing: list[tuple[str, list[str]]]  # a row for each: status, steps, time
    differences: list[tuple[str, list[str]]]  # an option and its value in each run, where these differ
    figures: list[tuple[str, list[str]]]
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """The same for programs: figures as numbers, the configuration where it differs."""
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
    """The runs in some directories beside each other; `UsageError` for fewer than two, more than eight, or no run."""
    if not 2 <= len(runs) <= MOST:
        raise UsageError(f"RUN: a comparison is of 2 to {MOST} runs, not of {len(runs)}; name others")
    records = [read_record(run) for run in runs]
    found = [columns(record) for record in records]
    return Comparison(
        records,
        _labels(records),
        _standing(records),
        [
            (name.replace("_", "-"), [text.plain(_value(record, name)) for record in records])
            for name in _differing(records)
        ],
        list(_figures(records, found)),
        list(_warnings(records, found)),
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write the page of a comparison and return its path; raises as `write_report`."""
    need()
    from cyclegan.report.chart_groups import comparison_groups
    from cyclegan.report.images import alike, newest_grids

    labels = comparison.labels
    context = {
        "labels": labels,
        "tables": [
            ("How they stand", comparison.standing),
            ("What differs in their configuration", comparison.differences),
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
    """The names of the folders, or as much of their paths as tells them apart."""
    paths = [record.path.resolve() for record in records]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise UsageError(f"RUN: {paths[0]} is named more than once; name each run once")


def _standing(records: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    ends = [text.status(record) for record in records]
    return [
        ("Status", [f"{end['word']}: {end['reason']}" if end["reason"] else end["word"] for end in ends]),
        ("Steps", [f"{record.step:,}" for record in records]),
        ("Time in training", [text.duration(record.seconds) if record.seconds else "" for record in records]),
        ("Alarms", [", ".join(sorted({alarm.name for alarm in record.alarms})) or "none" for record in records]),
    ]


def _differing(records: Sequence[RunRecord]) -> list[str]:
    names = dict.fromkeys(name for record in records for name in record.config)
    return [
        name
        for name in names
        if name not in _UNIMPORTANT and any(_value(it, name) != _value(records[0], name) for it in records)
    ]


def _value(record: RunRecord, name: str) -> Any:
    """The value of an option in a run. One that was none when the run began was as it is by default now."""
    return record.config.get(name, _DEFAULTS.get(name))


def _figures(records: Sequence[RunRecord], found: Sequence[Sequence[Column]]) -> Iterator[tuple[str, list[str]]]:
    """A row for each figure of the last generators, and of those kept as best by each metric the figure itself."""
    for direction in dict.fromkeys(direction for record in records for direction in record.directions):
        for name in _SHOWN:
            key = key_of(name, direction)
            cells = [written(name, of_run[0].figures.get(key)) if of_run else "" for of_run in found]
            if any(cells):
                yield f"{FIGURES[name].title}, {in_words(direction)}", cells
    metrics = dict.fromkeys(column.metric for of_run in found for column in of_run if column.metric)
    for metric in metrics:
        yield f"Best {metric}", [_best(of_run, metric) for of_run in found]


def _best(of_run: Sequence[Column], metric: str) -> str:
    for column in of_run:
        if column.metric == metric:
            return f"{written(name_of(metric), column.value)} at step {column.step}"
    return ""


def _warnings(records: Sequence[RunRecord], found: Sequence[Sequence[Column]]) -> Iterator[str]:
    """What keeps figures from being compared, a sentence each."""
    protocols = [of_run[0].protocol if of_run else {} for of_run in found]
    held_out = (
        (("pictures", f"held out {domain.upper()}", "names_sha256"), f"held-out pictures of {domain.upper()}", _NONE)
        for domain in sorted({domain for record in records for domain in record.domains})
    )
    for keys, what, which in (*_TERMS, *held_out):
        values = [_inside(protocol, keys) for protocol in protocols]
        if any(one is not None and other is not None and one != other for one, other in combinations(values, 2)):
            yield f"The {what} differ from run to run, so {which} compare."
    sources = {of_run[0].source for of_run in found if of_run}
    if len(sources) > 1:
        yield (
            "Some figures are of `cyclegan evaluate` and some of evaluations in training, perhaps of other pictures: "
            "run `cyclegan evaluate` for each."
        )
    steps = {record.step for record in records}
    if len(steps) > 1:
        yield f"The runs have come differently far, from {min(steps):,} to {max(steps):,} steps."
    prints = {_inside(record.meta, ("data_fingerprint",)) for record in records} - {None}
    if len(prints) > 1:
        yield "The runs learned from different pictures: their fingerprints of the data differ."


def _inside(protocol: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = protocol
    for key in keys:
        value = mapping(value).get(key)
    return value if isinstance(value, str) or number_of(value) is not None else None
