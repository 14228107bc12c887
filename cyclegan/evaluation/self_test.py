"""Self-test of figures: the order that each has to give to planted sets, and whether it does.

A figure that takes a failure for a success chooses the wrong generators, and no number of pictures helps. `ORDERS` says
of every figure what has to be below what, and why; `measure_planted` measures the sets of `cyclegan.evaluation.planted`
as translations are measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from cyclegan.data.sets import FileList, in_hash_order
from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.evaluator import measure_batches
from cyclegan.evaluation.image_set import ImageSet, batch_size
from cyclegan.evaluation.metrics.metric import Evaluation, Measured, Setup, Tools
from cyclegan.evaluation.planted import (
    BLUR,
    CHECKERBOARDS,
    COLOUR,
    FAILURES,
    HALF,
    NOISES,
    NOTHING,
    ONE,
    PATCHES,
    PLANTED,
    REAL,
    SPECKLES,
    TRAINING,
    Material,
)
from cyclegan.evaluation.protocol import clean
from cyclegan.figures import FIGURES

FEWEST = 8  # pictures of a set: with fewer, one picture more or less decides
MOST = 200  # unless --max-pictures says otherwise: enough to see every order that is asked for
# Of n pictures none may be taken for the target although in truth up to 3 / n are, with 95 % confidence
FEW = 3

Values = Mapping[str, tuple[float, float]]  # by planted set: a figure, and half the width of its interval


@dataclass(frozen=True)
class Rule:
    """One inequality: the figure of `low` is at most `times` that of `high`.

    Where the truth is a difference, it is `strict`. Where both may be equally bad, chance decides, and `low` may be
    above by half the narrower interval, or by that many `pictures` of a share. One interval is enough: the same
    pictures are changed and compared with the same ones, and so the difference varies less than either figure.
    """

    low: str
    high: str
    because: str
    times: float = 1.0
    strict: bool = False
    pictures: int = 0

    def holds(self, values: Values, count: int) -> bool:
        """True if sets of `count` pictures with these values are in order; False for values that are not finite."""
        (low, of_low), (high, of_high) = values[self.low], values[self.high]
        limit = self.times * high
        if self.strict:
            return low < limit
        return low <= limit + (self.pictures / count if self.pictures else min(of_low, self.times * of_high))

    def sentence(self, label: str) -> str:
        """The rule in words."""
        way = "below" if self.strict else "at most"
        times = "" if self.times == 1 else f"{self.times:.2g} × "
        few = f" and {self.pictures} pictures" if self.pictures else ""
        return f"{label}: {self.low!r} has to be {way} {times}{self.high!r}{few}, since {self.because}"


def _below(low: str, high: str, because: str, times: float = 1.0) -> Rule:
    return Rule(low, high, because, times, strict=True)


def _rising(names: Iterable[str]) -> Iterator[Rule]:
    return (Rule(low, high, "it is less of the same") for low, high in pairwise(names))


def _far_below(low: str, high: str, because: str) -> Rule:
    # A person who compares two figures by eye takes half for much less, and a tenth less for the same
    return _below(low, high, because, 0.5)


@dataclass(frozen=True)
class Order:
    """The rules of a figure; those of a `default` one decide whether the self-test is passed."""

    rules: tuple[Rule, ...]
    default: bool = True


# Share taken for the target. A translator does no more than half of nothing's share by chance: twice it is the limit
_SHARE = (
    _below(NOTHING, HALF, "half of the pictures are real ones of the target"),
    _below(HALF, REAL, "half of the pictures are of the source"),
    *(Rule(name, NOTHING, "a failure is not of the target", 2.0, pictures=FEW) for name in FAILURES),
)
# A distance of distributions from real pictures. KID is a squared one: of the half that is left of the difference it
# keeps a quarter, and of the 0.7 that a little colour leaves, even by features that see nothing but colour, a half.
# Patches are pieces of real pictures: features that are means over the picture see that they are there and not where,
# so they bring it nearer. That they are out of place is for the judge to find; a distance has to prefer half real ones
_DISTANCE = (
    _below(REAL, HALF, "half of the pictures are of the source"),
    _below(TRAINING, HALF, "copies are real pictures"),
    _below(REAL, ONE, "a single picture is not the variety of real ones"),
    _below(HALF, NOTHING, "half of the pictures are real ones of the target"),
    *(_below(HALF, name, "half of the pictures are real ones of the target") for name in FAILURES),
    *(Rule(NOTHING, name, "a failure is no improvement") for name in FAILURES if name not in (COLOUR, PATCHES)),
    *_rising(SPECKLES),
    *_rising(NOISES),
)
_NOT_COPIED = "it is no copy"

ORDERS: dict[str, Order] = {
    "judge": Order(_SHARE),
    "neither": Order(
        tuple(
            _below(kind, failure, "real pictures are of a domain, and this is of none")
            for failure in (SPECKLES[-1], NOISES[-1], BLUR)
            for kind in (NOTHING, REAL)
        ),
    ),
    # Asked for by name, and fit only for classes of the target
    "class_share": Order(_SHARE, default=False),
    "kid": Order(_DISTANCE),
    "fid": Order(_DISTANCE),
    "diversity": Order(
        tuple(_far_below(ONE, kind, "all pictures are alike") for kind in (NOTHING, REAL, TRAINING, HALF)),
    ),
    "nearest": Order(
        (
            *(_far_below(TRAINING, kind, "copies are at no distance") for kind in (REAL, NOTHING)),
            *(Rule(REAL, name, _NOT_COPIED, 2.0) for name in (NOTHING, *FAILURES)),
        ),
    ),
    "luminance_correlation": Order(
        (
            _far_below(REAL, NOTHING, "these pictures have nothing to do with the inputs"),
            _far_below(REAL, COLOUR, "light stays light"),
            _below(REAL, HALF, "half of the pictures are the inputs"),
            _below(HALF, NOTHING, "half of the pictures have nothing to do with the inputs"),
            *_rising((*reversed(SPECKLES), NOTHING)),
            *_rising((*reversed(NOISES), NOTHING)),
        ),
    ),
    # "Several times that of real pictures" is what its documentation tells to look for
    "checkerboard": Order(
        (
            *(
                _below(kind, board, "a pattern of the network, several times real", 1 / 3)
                for board in CHECKERBOARDS
                for kind in (NOTHING, REAL)
            ),
            Rule(BLUR, NOTHING, "a blur has no fine pattern"),
        ),
    ),
}


@dataclass(frozen=True)
class SelfTest:
    """Figures of all planted sets of `count` pictures in a direction, with their intervals."""

    direction: Direction
    count: int
    found: Mapping[str, Evaluation]  # by planted set

    def values(self, name: str) -> dict[str, tuple[float, float]]:
        """A figure of each planted set, with half the width of its interval; empty where it was not measured."""
        values = {}
        for planted, (figures, intervals) in self.found.items():
            if name in figures:
                low, high = intervals.get(name, (0.0, 0.0))
                values[planted] = figures[name], (high - low) / 2
        return values

    def judged(self) -> Iterator[tuple[str, Rule, bool]]:
        """The rules of measured figures: name of the figure, rule, and True where it holds."""
        for name, order in ORDERS.items():
            if values := self.values(name):
                yield from ((name, rule, rule.holds(values, self.count)) for rule in order.rules)

    def broken(self) -> dict[str, list[str]]:
        """Default figures with a broken rule, and the sets in these rules that are not where they belong."""
        found: dict[str, list[str]] = {}
        for name, rule, holds in self.judged():
            if ORDERS[name].default and not holds:
                found.setdefault(name, []).append(f"{rule.low} / {rule.high}")
        return found

    def record(self) -> dict[str, Any]:
        """Figures and rules for JSON."""
        rules = [
            {"figure": name, **vars(rule), "default": ORDERS[name].default, "holds": holds}
            for name, rule, holds in self.judged()
        ]
        figures = {planted: clean(values) for planted, (values, _) in self.found.items()}
        return {"pictures": self.count, "figures": figures, "rules": rules}

    def lines(self) -> Iterator[str]:
        """A table of sets and figures, and each rule in a sentence."""
        columns = {name: max(len(FIGURES[name].label), 8) + 2 for name in ORDERS if self.values(name)}
        yield f"{'':20}" + "".join(f"{FIGURES[name].label:>{width}}" for name, width in columns.items())
        for planted, (figures, _) in self.found.items():
            cells = (f"{FIGURES[name].written(figures[name]):>{width}}" for name, width in columns.items())
            yield f"{planted:20}" + "".join(cells)
        yield ""
        for name, rule, holds in self.judged():
            figure, values = FIGURES[name], self.values(name)
            found = " and ".join(figure.written(values[planted][0]) for planted in (rule.low, rule.high))
            aside = "" if ORDERS[name].default else ", no default figure"
            yield f"{'kept' if holds else 'broken':7} {rule.sentence(figure.label)} ({found}{aside})"


def size_of_sets(direction: Direction, source: ImageSet, target: ImageSet, training: ImageSet) -> int:
    """Number of pictures of each planted set; `UsageError` for too few."""
    count = min(len(source), len(target) // 2, len(training))
    if count < FEWEST:
        raise UsageError(
            f"--self-test: {direction.key} needs {FEWEST} held-out pictures of {direction.source.upper()}, twice as "
            f"many of {direction.target.upper()}, and {FEWEST} to train on, and there are {len(source)}, "
            f"{len(target)} and {len(training)}; give more by --data"
        )
    return count


def measure_planted(
    direction: Direction, tools: Tools, source: ImageSet, target: ImageSet, training: ImageSet
) -> SelfTest:
    """Measure all planted sets as translations of held-out `source` pictures.

    One half of the held-out `target` pictures is planted, and the other is what is compared with. All sets are of equal
    size, since the bias of FID depends on it. Raises `UsageError` for too few pictures.
    """
    count = size_of_sets(direction, source, target, training)
    inputs, learned = _some(source, count), _some(training, count)
    planted, reference = (_some(target, count, part) for part in (0, 1))
    setup = Setup(direction, tools, reference, inputs, learned)
    material = Material(_tensor(inputs), _tensor(planted), _tensor(learned), tools.seed)
    found = {
        name: measure_batches(setup, _batches(plant(material), material.source, tools))
        for name, plant in PLANTED.items()
    }
    return SelfTest(direction, count, found)


def _some(pictures: ImageSet, count: int, part: int = 0) -> ImageSet:
    """A part of `count` pictures in hash order; no picture is in two parts."""
    files = FileList(pictures.root, pictures.names)
    chosen = sorted(in_hash_order(files)[part * count : (part + 1) * count])
    return ImageSet(pictures.root, [files.names[index] for index in chosen], pictures.size)


def _tensor(pictures: ImageSet) -> Tensor:
    return torch.cat(list(pictures.batches()))


def _batches(planted: Tensor, source: Tensor, tools: Tools) -> Iterator[Measured]:
    count = batch_size(source.shape[-1])
    for fake, inputs in zip(planted.split(count), source.split(count), strict=True):
        yield Measured(fake, inputs, extractor=tools.extractor)
