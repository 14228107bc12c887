"""Every alarm by its name, which is its heading in docs/alarms.md too."""

from __future__ import annotations

from cyclegan.training.alarms.alarm import Alarm
from cyclegan.training.alarms.dataset import DomainsOverlap, FewPictures, TrainTestOverlap
from cyclegan.training.alarms.discriminator import DiscriminatorBlind, DiscriminatorTooStrong, GeneratorRunningAway
from cyclegan.training.alarms.machine import NotFinite, WaitingForData
from cyclegan.training.alarms.translations import (
    Checkerboard,
    ColoursInverted,
    HiddenSignal,
    NothingChanges,
    OutputsAlike,
)

ALARMS: dict[str, type[Alarm]] = {
    "colours-inverted": ColoursInverted,
    "nothing-changes": NothingChanges,
    "outputs-alike": OutputsAlike,
    "discriminator-too-strong": DiscriminatorTooStrong,
    "discriminator-blind": DiscriminatorBlind,
    "generator-running-away": GeneratorRunningAway,
    "hidden-signal": HiddenSignal,
    "checkerboard": Checkerboard,
    "not-finite": NotFinite,
    "waiting-for-data": WaitingForData,
    "few-pictures": FewPictures,
    "domains-overlap": DomainsOverlap,
    "train-test-overlap": TrainTestOverlap,
}
