"""What an alarm is: something that looks at figures now and then and says what is wrong, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.data import PictureSets


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first step."""

    config: TrainConfig
    domains: PictureSets
    equilibrium: float | None  # the mean verdict where real and fake can no longer be told apart; None: none
    discriminator_parameters: Mapping[str, int]  # for each domain that is judged
    augmented: bool = False  # the discriminators see pictures altered at random


@dataclass(frozen=True)
class Observation:
    """One look at a run."""

    kind: str  # "row": figures of the journal; "probe": see `probe`
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """What was seen: the figure, and a clause that says it in words."""

    figure: float
    text: str


class Alarm:
    """One thing that may go wrong. A subclass says when, and what to do about it; `ALARMS` gives it its name."""

    observes = ""  # the kind of moment at which it decides, if it is not only before the first step
    patience = 2  # so many of them in a row must show it: one alone may be chance
    restartable = False  # early in a run, by another seed
    cause: str  # the usual one, a clause
    cure: str  # the usual one, a clause that names options

    def __init__(self, facts: RunInfo) -> None:
        self.facts = facts

    def begin(self) -> Finding | None:
        """What is wrong before the first step, None where nothing is."""
        return None

    def note(self, moment: Observation) -> None:
        """Remember what is needed of any moment; called before `look`."""

    def look(self, moment: Observation) -> Finding | None:
        """What is wrong at a moment of the kind it sees, None where nothing is."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, in plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what it remembered."""


def ending(figures: Mapping[str, float], name: str) -> dict[str, float]:
    """The figures called `name_…`, by the rest of their names: the key of a direction, or a domain."""
    prefix = name + "_"
    return {key.removeprefix(prefix): value for key, value in figures.items() if key.startswith(prefix)}
