"""Figures of an evaluation as lines of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cyclegan.directions import Direction
from cyclegan.evaluation.metrics.metric import Evaluation
from cyclegan.figures import FIGURES, LOWER, SURE, compared, domain_name, key_of, subject_of

Figures = Mapping[str, float]

JUDGE = FIGURES["judge"]


def judge_sentence(figures: Figures, direction: Direction, names: Mapping[str, str]) -> str | None:
    """Shares that the judge takes for the target, the source and neither, as a sentence; None without a judge.

    `83 % of the translated pictures are taken for zebras, 7 % for horses, 10 % for neither (real zebras: 97 %,
    untranslated horses: 4 %)`
    """
    share, real, source = compared(figures, "judge", direction)
    if share is None:
        return None
    target, origin = (domain_name(domain, names) for domain in (direction.target, direction.source))
    shares = f"{JUDGE.written(share)} of the translated pictures are taken for {target}"
    neither = compared(figures, "neither", direction)[0]
    if neither is not None:  # a judge of before had no third class
        rest = max(0.0, 1 - share - neither)
        shares += f", {JUDGE.written(rest)} for {origin}, {JUDGE.written(neither)} for neither"
    references = [(real, f"real {target}"), (source, f"untranslated {origin}")]
    beside = ", ".join(f"{label}: {JUDGE.written(value)}" for value, label in references if value is not None)
    return f"{shares} ({beside})"


def summary_line(figures: Figures, names: Mapping[str, str], directions: Sequence[str]) -> str:
    """Shares in short: `83 % taken for zebras (real: 97 %, untranslated: 4 %), 79 % for horses (real: …)`."""
    parts: list[str] = []
    for direction in map(Direction.parse, directions):
        shares = compared(figures, "judge", direction)
        if None not in shares:
            share, real, source = (JUDGE.written(value) for value in shares if value is not None)
            target = f"{'for' if parts else 'taken for'} {domain_name(direction.target, names)}"
            parts.append(f"{share} {target} (real: {real}, untranslated: {source})")
    return ", ".join(parts)


def direction_lines(
    evaluation: Evaluation, direction: Direction, names: Mapping[str, str], *, sure: bool = True
) -> Iterator[str]:
    """The lines of one direction: the judge's words, last if it is not `sure`, compared figures, and the others."""
    figures, intervals = evaluation
    verdict = list[str]()
    if (sentence := judge_sentence(figures, direction, names)) is not None:
        verdict.append(sentence if sure else f"by a judge that is not sure: {sentence}")
    if (share := intervals.get(key_of("judge", direction))) is not None:
        verdict.append(f"the 95 % interval of that share is {JUDGE.interval(*share)}")
    yield from verdict if sure else ()
    rows = list(_compared_rows(evaluation, direction))
    if rows:
        yield f"{'':24}{'translated':>12} {'(95 % interval)':22}{'real':>12}{'untranslated':>14}"
        yield from rows
    for name, figure in FIGURES.items():
        value = figures.get(key_of(name, direction), math.nan)
        if figure.shown and not figure.compared and figure is not JUDGE and math.isfinite(value):
            row = f"{figure.label_with_unit:24}{figure.written(value):>12} {_interval(evaluation, name, direction)}"
            yield row.rstrip()
    yield from () if sure else verdict


def side_by_side(
    measured: Sequence[tuple[Mapping[str, Any], Figures]], names: Mapping[str, str], directions: Sequence[str]
) -> Iterator[str]:
    """Table of the last and the best generators, `measured` with their checkpoints.

    Only figures with a better end are compared, and the better one is marked if the printed values differ.
    """
    yield _row("", [f"{checkpoint['which']}  " for checkpoint, _ in measured])
    yield _row("", [f"step {checkpoint['step']}  " for checkpoint, _ in measured])
    for name, figure in FIGURES.items():
        for direction in map(Direction.parse, directions if figure.shown and figure.better else ()):
            values = [figures.get(key_of(name, direction), math.nan) for _, figures in measured]
            if all(map(math.isfinite, values)):
                shown = [figure.written(value) for value in values]
                best = shown[values.index((min if figure.better == LOWER else max)(values))]
                marks = [" *" if text == best and len(set(shown)) > 1 else "  " for text in shown]
                label = f"{figure.label}, {subject_of(name, direction, names)}"
                yield _row(label, [text + mark for text, mark in zip(shown, marks, strict=True)])
    yield "* the better one"
    for checkpoint, _ in measured:
        if (training := checkpoint.get("in_training")) is not None:
            yield f"{checkpoint['which']}: {_in_training(training)}"
        if "chosen_on" in checkpoint:
            yield f"{checkpoint['which']}: {_chosen(checkpoint['chosen_on'])}"


def classifier_note(protocol: Mapping[str, Any]) -> str | None:
    """Accuracy of the judge in words, with a warning if it is low; None without a judge."""
    judge = protocol.get("judge")
    if judge is None:
        return None
    pictures = " + ".join(map(str, judge["marked_with"][:2]))
    note = f"the judge classifies {judge['accuracy']:.1%} of {pictures} other real pictures correctly"
    if "calibration_error" in judge:
        note += (
            f", finds {judge['neither']:.1%} of failures to be of neither domain, and errs by "
            f"{judge['calibration_error']:.1%} in how sure it is"
        )
    if judge["accuracy"] < SURE:
        note += f"; below {SURE:.0%} it cannot tell the two domains apart, and its verdict means little"
    return note.replace("%", " %")


def protocol_lines(protocol: Mapping[str, Any]) -> Iterator[str]:
    """Lines that describe the protocol of an evaluation."""
    if "checkpoint" in protocol:
        file = protocol["checkpoint"]
        yield f"measured: {file['file']}, {file['which']}, step {file['step']}"
        if "chosen_on" in file:
            yield f"it was {_chosen(file['chosen_on'])}"
    for role, entry in protocol["pictures"].items():
        whole = "" if entry["count"] == entry["of"] else f" of {entry['of']}"
        lost = f", {entry['unreadable']} unreadable" if entry["unreadable"] else ""
        yield f"{role}: {entry['count']}{whole} pictures in {entry['folder']}{lost}"
    yield f"scaled: {protocol['scaling']}"
    if "features" in protocol:
        features = protocol["features"]
        yield f"features: {features['name']} ({features['sha256'][:12]}), {features['how']}"
    if "classes" in protocol:
        classes = protocol["classes"]
        yield f"classes: {classes['names']}, by {classes['name']} ({classes['sha256'][:12]}), {classes['how']}"
    yield f"intervals: {protocol['intervals']}"
    yield f"seed {protocol['seed']}, cyclegan {protocol['versions']['cyclegan']}, torch {protocol['versions']['torch']}"


def _compared_rows(evaluation: Evaluation, direction: Direction) -> Iterator[str]:
    """Rows of figures that real and untranslated pictures have as well."""
    for name, figure in FIGURES.items():
        found = compared(evaluation.figures, name, direction)
        if figure.compared and found[0] is not None and math.isfinite(found[0]):
            shown, real, source = ("" if value is None else figure.written(value) for value in found)
            row = f"{figure.label:24}{shown:>12} {_interval(evaluation, name, direction):22}{real:>12}{source:>14}"
            yield row.rstrip()


def _interval(evaluation: Evaluation, name: str, direction: Direction) -> str:
    ends = evaluation.intervals.get(key_of(name, direction))
    return "" if ends is None else f"({FIGURES[name].interval(*ends)})"


def _row(label: str, cells: Sequence[str]) -> str:
    return (f"{label:32}" + "".join(f"{cell:>20}" for cell in cells)).rstrip()


def _in_training(training: Mapping[str, Any]) -> str:
    recent = ", ".join(f"{value:.4g}" for value in training["recent"])
    spread = "" if training["spread"] is None else f", with a spread of {training['spread']:.4g}"
    count = training.get("evaluations")
    chosen = "" if count is None else f"chosen from {count} evaluation{'s' if count > 1 else ''}, "
    return f"{training['value']:.4g} in training, {chosen}where the last evaluations gave {recent}{spread}"


def _chosen(chosen_on: Mapping[str, Any]) -> str:
    if chosen_on["these"]:
        counts = " + ".join(str(count) for domain, count in chosen_on.items() if domain != "these")
        return f"chosen on {counts} of these same pictures, so its figures are slightly optimistic"
    return "chosen on held-out pictures of its run, which may be among these"
