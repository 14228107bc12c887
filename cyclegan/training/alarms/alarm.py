"""Base class of alarms, which find in the figures of a run what is wrong, why, and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.data.sets import PictureSets


@dataclass(frozen=True)
class RunInfo:
    """Facts of a run before its first step."""

    config: TrainConfig
    sets: PictureSets
    equilibrium: float | None  # of the scores, where real and fake can no longer be told apart; None: none
    discriminator_parameters: Mapping[str, int]  # for each domain with a discriminator
    augmented: bool = False  # the discriminators see pictures augmented at random


@dataclass(frozen=True)
class Observation:
    """Figures of a run at one step."""

    kind: str  # "row": figures of the journal; "probe": see `probe`
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """Something wrong: the figure, and a clause that says it in words."""

    figure: float
    text: str


class Alarm:
    """One thing that may go wrong; a subclass defines when. `ALARMS` holds its name."""

    observes = ""  # the kind of observation at which it decides; empty: only before the first step
    patience = 2  # observations in a row that must show it: one alone may be chance
    restartable = False  # whether another seed may cure it, early in a run
    cause: str  # the usual one, a clause
    cure: str  # the usual one, a clause that names options

    def __init__(self, facts: RunInfo) -> None:
        self.facts = facts

    def begin(self) -> Finding | None:
        """The finding before the first step, if any."""
        return None

    def note(self, observation: Observation) -> None:
        """Remember what is needed of any observation; called before `look`."""

    def look(self, observation: Observation) -> Finding | None:
        """The finding at an observation of the kind that it `observes`, if any."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Its memory, in plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore its memory."""


def ending(figures: Mapping[str, float], name: str) -> dict[str, float]:
    """The figures called `name_…`, by what follows the name."""
    prefix = name + "_"
    return {key.removeprefix(prefix): value for key, value in figures.items() if key.startswith(prefix)}
