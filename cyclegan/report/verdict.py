"""Does it work? A verdict in words on what was measured, and the figures that it stands on.

It measures nothing, and knows of no result but an evaluation and, of the drawn pictures, their scores.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.figures import FIGURES, SURE, domain_name, in_words, key_of, subject_of
from cyclegan.report.run_record import number_of
from cyclegan.tracking.journal import ALARM, FILE, Reader

# Figures lie somewhere on the way from doing nothing (0) to the right answer, or to real pictures (1). Of the animals'
# pixels, and of the judge's verdicts, more than half must be gone: a translation is then nearer to where it should go
# than to where it comes from. Whoever wants more can read the figures; less is a start and no translator.
LEARNED = 0.5
# The judge chooses between two, so that what looks like neither is taken for one of them. Hence the translations must
# also be like real pictures as a set, by their FID in its features. Photographs at 64 pixels in which nobody would see
# a horse, though the judge took 96 % of them for one, had gone 0.65 of that way; drawn animals, mostly right, 0.95.
ALIKE = 0.8
# By this much real pictures and untranslated ones must differ in the judge's eyes for a way to be measured between them
APART = 0.2

# The right answer, where it is known, decides alone: the judge is pleased by less, and says only that the change is
# there.
KNOWN = {True: "it works.", None: "it works one way, and not the other yet.", False: "it has not learned it yet."}
JUDGED = {
    True: "the change is there, both ways; how good it looks, only the pictures show.",
    None: "the change is there one way, and not the other yet.",
    False: "it has not learned it yet.",
}
LONGER = "cyclegan train --resume {run} --steps {steps}"
SHOWN = ("judge", "kid", "fid", "cycle_l1", "cycle_noise_ratio")

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A sentence with its figures, and whether it speaks of something learned; None where it cannot tell."""

    sentence: str
    learned: bool | None


def read_scores(files: Iterable[tuple[str, Path]]) -> dict[Direction, Figures]:
    """Scores of drawn pictures by direction, from `cyclegan data demo-score --json`; `UsageError` for others."""
    return {Direction.parse(key): _read_score(path) for key, path in files}


def verdict_lines(
    evaluation: Figures,
    run: Path | None,
    names: Mapping[str, str],
    scores: Mapping[Direction, Figures],
    longer: str = LONGER,
) -> Iterator[str]:
    """The verdict on an evaluation, as `cyclegan evaluate` stores it, with the last generators beside the best.

    `names` are what the pictures of the domains are, in the plural. `longer` is what to type for more steps of `run`,
    with {run} and {steps} to be filled in.
    """
    figures, protocol = evaluation["metrics"], evaluation["protocol"]
    directions = [Direction.parse(key) for key in protocol["directions"]]
    known = [_by_truth(score, direction, names) for direction, score in scores.items()]
    asked = (_by_judge(figures, protocol, direction, names) for direction in directions)
    judged = [evidence for evidence in asked if evidence is not None]
    learned, said = _summary(known, judged)
    yield said
    yield from (f"  {evidence.sentence}." for evidence in (*known, *judged))
    if not judged:
        yield "  No judge has looked at the translations; it needs more pictures to learn from."
    raised = [] if run is None else _alarms(run)
    if raised:
        yield f"  Alarms were raised: {', '.join(raised)} (docs/alarms.md says what each means and what helps)."
    step = protocol["checkpoint"]["step"]
    if not learned and run is not None and step is not None:
        advice = longer.replace("{run}", shlex.quote(str(run))).replace("{steps}", str(3 * step))
        yield f"  It has learned for {step} steps. For longer: {advice}"
    yield ""
    yield from _table(evaluation, directions)


def _by_truth(score: Figures, direction: Direction, names: Mapping[str, str]) -> Evidence:
    """The verdict by the known truth of the drawn pictures."""
    nothing, reached = score["texture_nothing"], score["texture"]
    sentence = (
        f"{in_words(direction, names)}: {_percent(reached)} of the animals' pixels have the right texture (doing "
        f"nothing: {_percent(nothing)}); {_percent(score['background'])} of the background is kept"
    )
    return Evidence(sentence, _gone(reached, nothing, 1) >= LEARNED)


def _by_judge(figures: Figures, protocol: Figures, direction: Direction, names: Mapping[str, str]) -> Evidence | None:
    """The judge's figures of one direction; None without any."""
    parts = ("", "_real", "_source")
    share, real, untranslated = (figures.get(key_of(f"judge{part}", direction)) for part in parts)
    if share is None or real is None or untranslated is None:
        return None
    source, target = (domain_name(domain, names) for domain in (direction.source, direction.target))
    count = protocol["pictures"][f"held out {direction.source.upper()}"]["count"]
    sentence = (
        f"{_percent(share)} of {count} translated {source} are taken for {target} "
        f"(real {target}: {_percent(real)}, untranslated {source}: {_percent(untranslated)})"
    )
    if protocol["judge"]["accuracy"] < SURE or real - untranslated < APART:
        return Evidence(f"{sentence}; that judge cannot tell the two apart, so this counts for nothing", None)
    if _gone(share, untranslated, real) < LEARNED:
        return Evidence(sentence, False)
    fid, fid_real, fid_source = (figures[key_of(f"fid{part}", direction)] for part in parts)
    if _gone(fid, fid_source, fid_real) < ALIKE:
        beside = f"real {target}: {fid_real:.0f}, untranslated {source}: {fid_source:.0f}"
        return Evidence(f"{sentence}, but they do not look like them: their FID is {fid:.0f} ({beside})", False)
    return Evidence(sentence, True)


def _gone(value: float, nothing: float, goal: float) -> float:
    """The position of `value` on the way from `nothing` to `goal`, as a share."""
    return (value - nothing) / (goal - nothing)


def _summary(known: list[Evidence], judged: list[Evidence]) -> tuple[bool | None, str]:
    """True if it has learned, None if in part, and the first line."""
    words, found = (KNOWN, known) if known else (JUDGED, judged)
    learned = {evidence.learned for evidence in found if evidence.learned is not None}
    if not learned:
        return False, "Verdict: there is none, as nothing that was measured can tell."
    whole = None if len(learned) == 2 else learned.pop()
    return whole, f"Verdict: {words[whole]}"


def _table(evaluation: Figures, directions: Sequence[Direction]) -> Iterator[str]:
    """The figures of the last generators beside those of the best, where there are such."""
    columns = {"last": evaluation} | {f"best {name}": part for name, part in evaluation.get("best", {}).items()}
    yield _row("", columns)
    yield _row("step", (part["protocol"]["checkpoint"]["step"] for part in columns.values()))
    for direction in directions:
        for name in SHOWN:
            values = [part["metrics"].get(key_of(name, direction)) for part in columns.values()]
            if any(value is not None for value in values):
                cells = ("–" if value is None else FIGURES[name].written(value) for value in values)
                yield _row(f"{FIGURES[name].label_with_unit}, {subject_of(name, direction)}", cells)


def _row(label: str, cells: Iterable[object]) -> str:
    return f"  {label:34}" + "".join(f"{cell:>14}" for cell in cells)


def _alarms(run: Path) -> list[str]:
    """The names of the alarms that the run has raised, each once, in their order."""
    rows = Reader(run / FILE).new() if (run / FILE).is_file() else ()
    found = dict.fromkeys(name for row in rows for name in row if name.startswith(ALARM))
    return [name.removeprefix(ALARM) for name in found]


def _read_score(path: Path) -> Figures:
    try:
        score = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        score = None
    shares = ("texture", "texture_nothing", "background")
    if not isinstance(score, dict) or any(number_of(score.get(share)) is None for share in shares):
        raise UsageError(
            f"--score: {path} holds no score; write it with `cyclegan data demo-score OUT --demo DIR --json`"
        )
    return score


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
