"""Alarms about the picture sets, mostly raised before the first step."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from itertools import combinations
from pathlib import Path

from cyclegan.data.sets import FileList
from cyclegan.images import escaped
from cyclegan.system.files import file_sha256
from cyclegan.training.alarms.alarm import Alarm, Finding, Observation
from cyclegan.training.alarms.discriminator import DiscriminatorAlarm

# Weights of a discriminator for each picture it is shown, mirrored ones counted. The paper's PatchGAN has 2.8 million,
# and the smallest set it was published with, 400 façades, gives 3,500. A third of that set is where this begins.
WEIGHTS_PER_PICTURE = 10_000
# Share of the way from the score of fakes to that of training pictures that unseen real ones lack (Karras et al. 2020,
# https://arxiv.org/abs/2006.06676, section 3): 0 means no overfitting, 1 that everything is learnt by heart.
BY_HEART = 0.8
TELLS = 0.3  # gap of the scores on training pictures and fakes from which on that share means anything
BLOCK = 4096  # bytes from the middle of a file that are compared before all of it is


class FewPictures(DiscriminatorAlarm):
    """The discriminator overfits: it learns the pictures by heart, and its gradients teach nothing.

    Suspected before the first step from the number of weights, and seen later in its scores of held-out pictures.
    """

    observes = "probe"
    patience = 3
    cause = "a discriminator with many weights and few pictures learns them by heart, not what they have in common"
    cure = "give --diffaug color,translation,cutout, leave --flip on, take fewer --channels, or find more pictures"

    def begin(self) -> Finding | None:
        config, domains = self.facts.config, self.facts.sets
        if self.facts.augmented:
            return None
        counts = {domain: len(pictures) for domain, pictures in domains.train.items()}
        shown = 2 if config.flip or config.augment else 1
        weights = {
            domain: parameters / (shown * counts[domain])
            for domain, parameters in self.facts.discriminator_parameters.items()
        }
        domain = max(weights, key=lambda name: weights[name], default="")
        if not domain or weights[domain] < WEIGHTS_PER_PICTURE:
            return None
        parameters = self.facts.discriminator_parameters[domain]
        return Finding(
            weights[domain],
            f"{counts[domain]} pictures of {domain.upper()} are few for a discriminator of {parameters:,} weights",
        )

    def look(self, observation: Observation) -> Finding | None:
        found = {}
        for domain, window in self.full_windows().items():
            real, fake = window.means
            if window.gap > TELLS and f"verdict_real_{domain}" in self.probed:
                found[domain] = (real - self.probed[f"verdict_real_{domain}"]) / (real - fake)
        domain = max(found, key=lambda name: found[name], default="")
        if not domain or found[domain] < BY_HEART:
            return None
        return Finding(
            found[domain],
            f"the discriminator of {domain.upper()} knows its pictures by heart: held-out real ones fall short of them "
            f"by {found[domain]:.0%} of what fakes do",
        )


class DomainsOverlap(Alarm):
    """The same picture is in two domains, so that it is real and fake at once."""

    cause = "one folder was copied into the other, or pictures were sorted by hand"
    cure = "remove them from one of the two; `cyclegan data check A B` lists them"

    def begin(self) -> Finding | None:
        sets = self.facts.sets
        for one, other in combinations(sets.train, 2):
            ours, theirs = (_paths([sets.train[domain], sets.test[domain]]) for domain in (one, other))
            finding = _overlap(duplicate_pairs(ours, theirs), f"{one.upper()} and in {other.upper()}")
            if finding is not None:
                return finding
        return None


class TrainTestOverlap(Alarm):
    """A held-out picture is in the training set too, so that figures on it are too good."""

    cause = "copies under another name, or test pictures that were taken from the training folder"
    cure = "remove the copies; `cyclegan data check` lists them"

    def begin(self) -> Finding | None:
        sets = self.facts.sets
        found = []
        for domain, train in sets.train.items():
            test = sets.test[domain]
            if train != test:  # the only picture of a folder is both, and that is said elsewhere
                found += duplicate_pairs(_paths([train]), _paths([test]))
        return _overlap(found, "the training pictures and in the held-out ones")


def duplicate_pairs(ours: Iterable[Path], theirs: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Files of `ours` that have the content of one of `theirs`, each with one of those, in the order of `ours`.

    Compared by size, then by a block from the middle, and by all of it only where both agree: for 10,000 JPEG files
    mostly 10,000 sizes, below a second. Unreadable files are skipped.
    """
    mine, others = list(ours), list(theirs)
    order = list(mine)
    twin: dict[Path, Path] = {}
    for key in (_size, _middle, file_sha256):
        here, there = _by(key, mine), _by(key, others)
        common = here.keys() & there.keys()
        twin = {path: there[name][0] for name in common for path in here[name]}
        mine, others = ([path for name in common for path in side[name]] for side in (here, there))
    return [(path, twin[path]) for path in order if path in twin]


def _by(key: Callable[[Path], Hashable], paths: Iterable[Path]) -> dict[Hashable, list[Path]]:
    found: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            found[key(path)].append(path)
        except OSError:
            continue  # a link to nowhere, or no permission: training says so when it comes to it
    return found


def _size(path: Path) -> int:
    return os.stat(path).st_size


def _middle(path: Path) -> bytes:
    size = _size(path)
    with open(path, "rb") as stream:
        stream.seek(max(0, (size - BLOCK) // 2))
        return hashlib.sha256(size.to_bytes(8, "big") + stream.read(BLOCK)).digest()


def _paths(sets: Iterable[FileList]) -> list[Path]:
    return [pictures.path(index) for pictures in sets for index in range(len(pictures))]


def _overlap(found: list[tuple[Path, Path]], where: str) -> Finding | None:
    if not found:
        return None
    one, other = (escaped(str(path)) for path in found[0])
    count = "1 picture is" if len(found) == 1 else f"{len(found)} pictures are"
    return Finding(float(len(found)), f"{count} in {where}, for example {one} and {other}")
