"""Verdict in words on an evaluation, with the figures that support it.

It measures nothing: its only inputs are an evaluation and, for the drawn pictures, their scores.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, SURE, domain_name, in_words, key_of, subject_of
from cyclegan.report.run_record import number_of
from cyclegan.report.tables import MAIN
from cyclegan.report.text import percent
from cyclegan.tracking.journal import ALARM, FILE, Reader

# Figures are placed on a scale from doing nothing (0) to the ground truth, or to real pictures (1). The animals'
# pixels, and the judge's verdicts, must pass the middle: a translation is then nearer to its target than to its source.
# Less is a start, but not a translator; the figures show how much more it is.
LEARNED = 0.5
# A judge says nothing of variety. Hence the translations must also resemble real pictures as a set: by FID they must
# not be farther from them than untranslated ones. Photographs at 64 pixels that show speckle were at -0.04 to -0.67.
ALIKE = 0.0
# A judge of two classes, from before, takes failures for one of them, and needs more support: pictures in which nobody
# would see a horse, though it took 96 % of them for one, were at 0.65; drawn animals, mostly right, at 0.95.
ALIKE_OF_TWO_CLASSES = 0.8
# Least difference between the judge's shares of real and of untranslated pictures for a scale between them
APART = 0.2

# The ground truth, if known, decides alone: the judge demands less, and shows only that the change is there
KNOWN = {True: "it works.", None: "it works one way, and not the other yet.", False: "it has not learned it yet."}
JUDGED = {
    True: "the change is there, both ways; only the pictures show how good it looks.",
    None: "the change is there one way, and not the other yet.",
    False: "it has not learned it yet.",
}
LONGER = "cyclegan train --resume {run} --steps {steps}"

Figures = Mapping[str, Any]


class Evidence(NamedTuple):
    """A sentence with its figures, and the conclusion."""

    sentence: str
    learned: bool | None  # None: inconclusive


def read_scores(files: Iterable[tuple[str, Path]]) -> dict[Direction, Figures]:
    """Read files of `cyclegan data demo-score --json` by direction; `UsageError` for other files."""
    scores: dict[Direction, Figures] = {}
    for key, path in files:
        direction = Direction.parse(key)
        try:
            score = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            score = None
        shares = ("texture", "texture_nothing", "background")
        if not isinstance(score, dict) or any(number_of(score.get(share)) is None for share in shares):
            raise UsageError(
                f"--score: {path} holds no score; write it with `cyclegan data demo-score OUT --demo DIR --json`"
            )
        scores[direction] = score
    return scores


def verdict_lines(
    evaluation: Figures,
    run: Path | None,
    names: Mapping[str, str],
    scores: Mapping[Direction, Figures],
    longer: str = LONGER,
) -> Iterator[str]:
    """Lines of the verdict on an evaluation as `cyclegan evaluate` stores it, and a table of the last and the best.

    `names` are plural names of the domains' pictures. `longer` is the command to train `run` longer, with placeholders
    {run} and {steps}.
    """
    figures, protocol = evaluation["metrics"], evaluation["protocol"]
    directions = [Direction.parse(key) for key in protocol["directions"]]
    by_truth = [_by_truth(score, direction, names) for direction, score in scores.items()]
    verdicts = (_by_judge(figures, protocol, direction, names) for direction in directions)
    by_judge = [evidence for evidence in verdicts if evidence is not None]
    learned, headline = _summary(by_truth, by_judge)
    yield headline
    yield from (f"  {evidence.sentence}." for evidence in (*by_truth, *by_judge))
    if not by_judge:
        yield "  No judge has assessed the translations; it needs more training pictures."
    rows = Reader(run / FILE).new() if run is not None and (run / FILE).is_file() else ()
    raised = dict.fromkeys(name.removeprefix(ALARM) for row in rows for name in row if name.startswith(ALARM))
    if raised:
        yield f"  Alarms were raised: {', '.join(raised)} (docs/alarms.md says what each means and what helps)."
    step = protocol["checkpoint"]["step"]
    if not learned and run is not None and step is not None:
        advice = longer.replace("{run}", shlex.quote(str(run))).replace("{steps}", str(3 * step))
        yield f"  It was trained for {step} steps. To train longer: {advice}"
    yield ""
    columns = {"last": evaluation} | {f"best {name}": part for name, part in evaluation.get("best", {}).items()}
    yield _row("", columns)
    yield _row("step", (part["protocol"]["checkpoint"]["step"] for part in columns.values()))
    for direction in directions:
        for name in MAIN:
            values = [part["metrics"].get(key_of(name, direction)) for part in columns.values()]
            if any(value is not None for value in values):
                cells = (None if value is None else FIGURES[name].written(value) for value in values)
                yield _row(f"{FIGURES[name].label_with_unit}, {subject_of(name, direction)}", cells)


def _by_truth(score: Figures, direction: Direction, names: Mapping[str, str]) -> Evidence:
    """Evidence from the ground truth of the drawn pictures."""
    nothing, reached = score["texture_nothing"], score["texture"]
    sentence = (
        f"{in_words(direction, names)}: {percent(reached)} of the animals' pixels have the right texture (doing "
        f"nothing: {percent(nothing)}); {percent(score['background'])} of the background is kept"
    )
    return Evidence(sentence, _progress(reached, nothing, 1) >= LEARNED)


def _by_judge(figures: Figures, protocol: Figures, direction: Direction, names: Mapping[str, str]) -> Evidence | None:
    """Evidence from the judge's figures of one direction; None without any."""
    parts = ("", "_real", "_source")
    share, real, untranslated = (figures.get(key_of(f"judge{part}", direction)) for part in parts)
    if share is None or real is None or untranslated is None:
        return None
    source, target = (domain_name(domain, names) for domain in (direction.source, direction.target))
    count = protocol["pictures"][f"held out {direction.source.upper()}"]["count"]
    neither = figures.get(key_of("neither", direction))  # a judge of before had no third class
    failed = "" if neither is None else f", and {percent(neither)} for neither"
    sentence = (
        f"{percent(share)} of {count} translated {source} are taken for {target}{failed} "
        f"(real {target}: {percent(real)}, untranslated {source}: {percent(untranslated)})"
    )
    if protocol["judge"]["accuracy"] < SURE or real - untranslated < APART:
        return Evidence(f"{sentence}; that judge cannot tell the two apart, so this is not evidence", None)
    if _progress(share, untranslated, real) < LEARNED:
        return Evidence(sentence, False)
    fid, fid_real, fid_source = (figures[key_of(f"fid{part}", direction)] for part in parts)
    if _progress(fid, fid_source, fid_real) < (ALIKE_OF_TWO_CLASSES if neither is None else ALIKE):
        references = f"real {target}: {fid_real:.0f}, untranslated {source}: {fid_source:.0f}"
        return Evidence(f"{sentence}, but they do not look like them: their FID is {fid:.0f} ({references})", False)
    return Evidence(sentence, True)


def _progress(value: float, nothing: float, goal: float) -> float:
    """Place of `value` on the scale from `nothing` (0) to `goal` (1)."""
    return (value - nothing) / (goal - nothing)


def _summary(by_truth: Sequence[Evidence], by_judge: Sequence[Evidence]) -> tuple[bool | None, str]:
    """Conclusion, None if directions differ, and the first line."""
    words, found = (KNOWN, by_truth) if by_truth else (JUDGED, by_judge)
    learned = {evidence.learned for evidence in found if evidence.learned is not None}
    if not learned:
        return False, "Verdict: none, as no measurement is conclusive."
    whole = None if len(learned) == 2 else learned.pop()
    return whole, f"Verdict: {words[whole]}"


def _row(label: str, cells: Iterable[str | int | None]) -> str:
    return f"  {label:34}" + "".join(f"{'–' if cell is None else cell:>14}" for cell in cells)
