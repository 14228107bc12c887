#!/usr/bin/env python3
"""Does it work? A verdict in words on what was measured, and the figures that it stands on.

    scripts/verdict.py RUN [--names A B] [--score ab FILE] [--score ba FILE] [--longer COMMAND]

Reads RUN/evaluation.json, which `cyclegan evaluate RUN` wrote, and each FILE, which `cyclegan data score --json` wrote.
It measures nothing, and knows of no result but those.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.tracking.journal import ALARM, FILE, Reader

# Figures lie somewhere on the way from doing nothing (0) to the right answer, or to real pictures (1). Of the animals'
# pixels, and of the judge's verdicts, more than half must be gone: a translation is then nearer to where it should go
# than to where it comes from. Whoever wants more can read the figures; less is a start and no translator.
LEARNED = 0.5
# The judge chooses between two, so that what looks like neither is taken for one of them. Hence the translations must
# also be like real pictures as a set, by their FID in its features. Photographs at 64 pixels in which nobody would see
# a horse, though the judge took 96 % of them for one, had gone 0.65 of that way; drawn animals, mostly right, 0.95.
ALIKE = 0.8
# A judge that is right less often on real pictures does not know the two apart (SURE in
# cyclegan.evaluation.features.classifier, which a test compares, as importing it takes seconds).
SURE = 0.75
# By this much real pictures and untranslated ones must differ in its eyes for a way to be measured between them.
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

Figures = Mapping[str, Any]

OF_SOURCE, OF_BOTH = "{0}", "{0} to {1}"
TABLE = {  # figure without its ending -> heading, of what, form
    "judge": ("taken for the target", OF_BOTH, "{:.0%}"),
    "kid": ("KID", OF_BOTH, "{:.4f}"),
    "fid": ("FID", OF_BOTH, "{:.2f}"),
    "cycle_l1": ("cycle L1 (levels)", OF_SOURCE, "{:.2f}"),
    "cycle_noise_ratio": ("cycle L1 with noise", OF_SOURCE, "{:.2f} ×"),
}


@dataclass(frozen=True)
class Evidence:
    """A sentence with its figures, and whether it speaks of something learned; None where it cannot tell."""

    sentence: str
    learned: bool | None


def of_truth(score: Figures, source: str, target: str) -> Evidence:
    """What the known right answers of the drawn pictures say."""
    nothing, reached = score["texture_nothing"], score["texture"]
    sentence = (
        f"{source} to {target}: {percent(reached)} of the animals' pixels have the right texture (doing nothing: "
        f"{percent(nothing)}); {percent(score['background'])} of the background is kept"
    )
    return Evidence(sentence, gone(reached, nothing, 1) >= LEARNED)


def of_judge(figures: Figures, protocol: Figures, direction: str, names: Mapping[str, str]) -> Evidence | None:
    """What the judge says of one direction; None where it has not spoken."""
    share, real, untranslated = (figures.get(f"{name}_{direction}") for name in ("judge", "judge_real", "judge_source"))
    if share is None or real is None or untranslated is None:
        return None
    source, target = (names[domain] for domain in direction)
    count = protocol["pictures"][f"held out {direction[0].upper()}"]["count"]
    sentence = (
        f"{percent(share)} of {count} translated {source} are taken for {target} "
        f"(real {target}: {percent(real)}, untranslated {source}: {percent(untranslated)})"
    )
    if protocol["judge"]["accuracy"] < SURE or real - untranslated < APART:
        return Evidence(f"{sentence}; that judge cannot tell the two apart, so this counts for nothing", None)
    if gone(share, untranslated, real) < LEARNED:
        return Evidence(sentence, False)
    fid, fid_real, fid_source = (figures[f"{name}_{direction}"] for name in ("fid", "fid_real", "fid_source"))
    if gone(fid, fid_source, fid_real) < ALIKE:
        beside = f"real {target}: {fid_real:.0f}, untranslated {source}: {fid_source:.0f}"
        return Evidence(f"{sentence}, but they do not look like them: their FID is {fid:.0f} ({beside})", False)
    return Evidence(sentence, True)


def gone(value: float, nothing: float, goal: float) -> float:
    """How far `value` is on the way from `nothing` to `goal`."""
    return (value - nothing) / (goal - nothing)


def verdict(known: list[Evidence], judged: list[Evidence]) -> tuple[bool | None, str]:
    """Whether it has learned, None for in part, and the first line."""
    words, found = (KNOWN, known) if known else (JUDGED, judged)
    learned = {evidence.learned for evidence in found if evidence.learned is not None}
    if not learned:
        return False, "Verdict: there is none, as nothing that was measured can tell."
    whole = None if len(learned) == 2 else learned.pop()
    return whole, f"Verdict: {words[whole]}"


def table(evaluation: Figures) -> Iterator[str]:
    """The figures of the last generators beside those of the best, where there are such."""
    columns = {"last": evaluation} | {f"best {name}": part for name, part in evaluation.get("best", {}).items()}
    yield row("", columns)
    yield row("step", (part["protocol"]["checkpoint"]["step"] for part in columns.values()))
    for direction in _directions(evaluation["metrics"]):
        for stem, (heading, ending, form) in TABLE.items():
            key = f"{stem}_{direction[0]}" if ending == OF_SOURCE else f"{stem}_{direction}"
            values = [part["metrics"].get(key) for part in columns.values()]
            if any(value is not None for value in values):
                cells = ("–" if value is None else form.format(value).replace("%", " %") for value in values)
                yield row(f"{heading}, {ending.format(*direction.upper())}", cells)


def row(label: str, cells: Iterable[object]) -> str:
    """One line of the table."""
    return f"  {label:34}" + "".join(f"{cell:>14}" for cell in cells)


def alarms(run: Path) -> list[str]:
    """The names of the alarms that the run has raised, each once, in their order."""
    rows = Reader(run / FILE).new()
    found = dict.fromkeys(name for row in rows for name in row if name.startswith(ALARM))
    return [name.removeprefix(ALARM) for name in found]


def lines(run: Path, names: Mapping[str, str], scores: Mapping[str, Figures], longer: str) -> Iterator[str]:
    """The whole verdict. `scores` are marks by direction."""
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    figures, protocol = evaluation["metrics"], evaluation["protocol"]
    known = [of_truth(score, *(names[domain] for domain in way)) for way, score in scores.items()]
    asked = (of_judge(figures, protocol, direction, names) for direction in _directions(figures))
    judged = [evidence for evidence in asked if evidence is not None]
    learned, said = verdict(known, judged)
    yield said
    yield from (f"  {evidence.sentence}." for evidence in (*known, *judged))
    if not judged:
        yield "  No judge has looked at the translations; it needs more pictures to learn from."
    raised = alarms(run)
    if raised:
        yield f"  Alarms were raised: {', '.join(raised)} (docs/alarms.md says what each means and what helps)."
    if not learned:
        step = protocol["checkpoint"]["step"]
        advice = longer.replace("{run}", shlex.quote(str(run))).replace("{steps}", str(3 * step))
        yield f"  It has learned for {step} steps. For longer: {advice}"
    yield ""
    yield from table(evaluation)


def percent(share: float) -> str:
    """0.934 -> 93 %."""
    return f"{100 * share:.0f} %"


def _directions(figures: Figures) -> list[str]:
    return [way for way in ("ab", "ba") if any(name.endswith(f"_{way}") for name in figures)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--names", nargs=2, default=["A", "B"], help="what the pictures of A and of B are, in the plural"
    )
    parser.add_argument(
        "--score", nargs=2, action="append", default=[], metavar=("WAY", "FILE"), help="marks of ab, ba"
    )
    parser.add_argument("--longer", default=LONGER, metavar="COMMAND", help=f"what to type then ({LONGER})")
    given = parser.parse_args()
    if not (given.run / "evaluation.json").is_file():
        sys.exit(f"error: {given.run} has not been evaluated; run cyclegan evaluate {given.run}")
    scores = {way: json.loads(Path(file).read_text(encoding="utf-8")) for way, file in given.score}
    print("\n".join(lines(given.run, dict(zip("ab", given.names, strict=True)), scores, given.longer)))


if __name__ == "__main__":
    main()
