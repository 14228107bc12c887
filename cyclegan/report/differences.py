"""Differences of recipes in words: which figures differ by more than their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cyclegan.directions import Direction
from cyclegan.figures import FIGURES, LOWER, in_words, key_of
from cyclegan.report.protocols import unlike
from cyclegan.report.recipes import Recipe
from cyclegan.report.tables import written
from cyclegan.report.uncertainty import LEVEL, Estimate, holm

# The fewer they are, the smaller the differences that are found: each counts against all others
_TESTED = ("judge", "neither", "class_share", "kid", "fid", "cycle_l1", "psnr")

Subject = tuple[str, Direction]  # the name of a figure, and the direction that it belongs to


@dataclass(frozen=True)
class FigureDifference:
    """A figure of two recipes, and the corrected probability of so large a difference by chance."""

    name: str
    direction: Direction
    first: Estimate
    second: Estimate
    chance: float

    @property
    def key(self) -> str:
        return key_of(self.name, self.direction)

    @property
    def differs(self) -> bool:
        return self.chance <= 1 - LEVEL

    @property
    def first_is_higher(self) -> bool:
        return self.first.value > self.second.value

    def sentence(self, first: str, second: str) -> str:
        """The difference in words, the better recipe or that of the higher figure first."""
        better, described = FIGURES[self.name].better, [(first, self.first), (second, self.second)]
        if self.first_is_higher == (better == LOWER):
            described.reverse()
        (winner, its), (other, others) = described
        values = " against ".join(_with_reach(self.name, estimate) for estimate in (its, others))
        word = "better" if better else "higher"
        title = f"{FIGURES[self.name].label}, {in_words(self.direction)}"
        return f"{title}: {winner} is {word} than {other} ({values})"


@dataclass(frozen=True)
class Difference:
    """Comparison of two recipes, figure by figure."""

    first: Recipe
    second: Recipe
    figures: list[FigureDifference]
    unlike: list[Subject]  # that were measured differently
    without_interval: list[Subject]
    pictures_only: list[Subject]  # with nothing known of other seeds of one of the two

    @property
    def heading(self) -> str:
        return f"{self.first.about} against {self.second.about}"

    def sentences(self) -> Iterator[str]:
        """The comparison in sentences without full stops: differences first, then the limits."""
        yield from (it.sentence(self.first.label, self.second.label) for it in self.figures if it.differs)
        if equal := [(it.name, it.direction) for it in self.figures if not it.differs]:
            yield f"no difference beyond the uncertainty in: {_listed(equal)}"
        if self.pictures_only:
            some = "" if len(self.pictures_only) == len(self.figures) else f" of {_listed(self.pictures_only)}"
            yield (
                f"what other seeds would give is not known{some}, since a single run has no evaluations in training "
                "that were measured alike: the words hold for these generators and pictures only"
            )
        if self.without_interval:
            yield f"without an interval, so not compared: {_listed(self.without_interval)}"
        if self.unlike:
            yield f"measured differently, so not compared: {_listed(self.unlike)}"
        if not (self.figures or self.without_interval or self.unlike):
            yield "no figure that both have"

    def as_json(self) -> dict[str, Any]:
        """The comparison for programs."""
        sides = (self.first, self.second)
        figures = []
        for it in self.figures:
            better = FIGURES[it.name].better if it.differs else None
            first_is_better = it.first_is_higher != (better == LOWER)
            figures.append(
                {
                    "figure": it.key,
                    "values": [side.values(it.key) for side in sides],
                    "estimates": [_estimate_as_json(estimate) for estimate in (it.first, it.second)],
                    "p": it.chance,
                    "differs": it.differs,
                    "better": sides[0 if first_is_better else 1].label if better else None,
                }
            )
        return {
            "recipes": [{"label": side.label, "runs": [run.label for run in side.runs]} for side in sides],
            "figures": figures,
            "sentences": list(self.sentences()),
        }


def differences(found: Sequence[Recipe]) -> list[Difference]:
    """Compare each two recipes; each two runs where there is only one recipe."""
    if len(found) == 1:
        found = [Recipe(run.label, (run,)) for run in found[0].runs]
    return [_difference(*pair) for pair in combinations(found, 2)]


def _difference(first: Recipe, second: Recipe) -> Difference:
    """Compare two recipes. Of two that are equal no figure at all is said to differ in 95 of 100 cases."""
    runs = (*first.runs, *second.runs)
    protocols = [run.protocol for run in runs]
    directions = dict.fromkeys(direction for run in runs for direction in run.record.directions)
    found: list[tuple[str, Direction, Estimate, Estimate]] = []
    different, without, pictures_only = list[Subject](), list[Subject](), list[Subject]()
    for direction in directions:
        for name in (name for name in _TESTED if name in FIGURES):
            key, subject = key_of(name, direction), (name, direction)
            estimates = [recipe.estimate(key, name) for recipe in (first, second)]
            one, other = estimates
            if one is None or other is None:
                continue
            if unlike(name, protocols):
                different.append(subject)
            elif not (one.parts and other.parts):
                without.append(subject)
            else:
                found.append((name, direction, one, other))
                if not all(recipe.knows_seeds(key, name) for recipe in (first, second)):
                    pictures_only.append(subject)
    chances = holm([one.chance(other) for _, _, one, other in found])
    figures = [FigureDifference(*it, chance) for it, chance in zip(found, chances, strict=True)]
    return Difference(first, second, figures, different, without, pictures_only)


def _listed(subjects: Sequence[Subject]) -> str:
    """Figures by direction: `KID, FID (A to B); KID (B to A)`."""
    labels: dict[Direction, list[str]] = {}
    for name, direction in subjects:
        labels.setdefault(direction, []).append(FIGURES[name].label)
    return "; ".join(f"{', '.join(some)} ({in_words(direction)})" for direction, some in labels.items())


def _with_reach(name: str, estimate: Estimate) -> str:
    return f"{written(name, estimate.value)} ± {written(name, estimate.reach)}"


def _estimate_as_json(estimate: Estimate) -> dict[str, Any]:
    reach, freedom = estimate.reach, estimate.freedom
    return {
        "value": estimate.value,
        "interval": [estimate.value - reach, estimate.value + reach],
        "freedom": freedom if math.isfinite(freedom) else None,
    }
