"""The pictures of each sample, a pure function of the seed and the number of the sample.

No state is kept from one step to the next, so a run resumed at step 1234 needs only that number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import count, islice
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from cyclegan.images import escaped

_ORDER, _AUGMENTATION = 1, 2  # kinds of random streams: the first number of their seeds


class Sample(NamedTuple):
    """One picture of each domain."""

    number: int  # in the whole run
    indices: tuple[int, ...]  # of the picture of each domain


class Pairing(Protocol):
    """Correspondence between the pictures of several domains."""

    whole: ClassVar[bool]  # samples stay whole: a picture that cannot be read is replaced with its partners

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        """`lengths` are the numbers of pictures by domain."""

    @staticmethod
    def key(name: str) -> str:
        """The part of a file name that decides whether the picture is held out."""

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """The names by domain in the order of `indices`, without those that lack a partner, or `ValueError`."""

    def indices(self, number: int) -> tuple[int, ...]:
        """The picture of each domain in sample `number`."""

    def stream(self, number: int, domain: str) -> list[int]:
        """The seed of the augmentation of the picture of `domain` in sample `number`."""


class Unpaired(Pairing):
    """Independent domains, each an endless sequence of new permutations of its folder.

    Within a domain every picture is seen equally often, plus or minus one, whichever folder is larger, and whether or
    not the batch size divides it. Domains are shuffled, cropped and flipped independently, and the samples of a domain
    do not depend on the other domains.
    """

    whole = False

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        self.seed = seed
        self.permutations = [_Permutations(seed, ord(domain) - ord("a"), length) for domain, length in lengths.items()]

    @staticmethod
    def key(name: str) -> str:
        return name

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        return {domain: tuple(listed) for domain, listed in names.items()}

    def indices(self, number: int) -> tuple[int, ...]:
        return tuple(permutations.picture(number) for permutations in self.permutations)

    def stream(self, number: int, domain: str) -> list[int]:
        return [_AUGMENTATION, self.seed, number, ord(domain)]


class Aligned(Pairing):
    """Pairs of equal names up to the extension, which share every sample and are cropped and flipped alike."""

    whole = True

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        (length,) = set(lengths.values())
        self.seed = seed
        self.domains = len(lengths)
        self.permutations = _Permutations(seed, 0, length)

    @staticmethod
    def key(name: str) -> str:
        return os.path.splitext(name)[0]

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        found = {domain: _by_key(domain, listed) for domain, listed in names.items()}
        common = sorted(set.intersection(*(set(by_key) for by_key in found.values())))
        if not common:
            domains = " and ".join(domain.upper() for domain in names)
            raise ValueError(f"no pictures of {domains} share a name; those of a pair differ only in the extension")
        return {domain: tuple(by_key[key] for key in common) for domain, by_key in found.items()}

    def indices(self, number: int) -> tuple[int, ...]:
        return (self.permutations.picture(number),) * self.domains

    def stream(self, number: int, domain: str) -> list[int]:
        return [_AUGMENTATION, self.seed, number]


PAIRINGS: dict[str, type[Pairing]] = {"unpaired": Unpaired, "aligned": Aligned}


def groups(pairing: Pairing | type[Pairing], domains: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of domains whose pictures are read and replaced together."""
    return [tuple(domains)] if pairing.whole else [(domain,) for domain in domains]


@dataclass(frozen=True)
class StepSampler:
    """The samples of one rank for each step from `start` to `stop`.

    The ranks take contiguous parts of a step's samples, so R ranks of batch b see what one rank of batch R·b sees.
    """

    pairing: Pairing
    _: KW_ONLY
    batch_size: int  # of this rank
    start: int
    stop: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        assert self.batch_size >= 1, self.batch_size
        assert 0 <= self.rank < self.world, (self.rank, self.world)

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[Sample]]:
        for step in range(self.start, self.stop):
            first = (step * self.world + self.rank) * self.batch_size
            yield [Sample(number, self.pairing.indices(number)) for number in range(first, first + self.batch_size)]


class Request(NamedTuple):
    """The samples of some steps for a worker, and the slot to put them into, if any."""

    slot: int | None
    steps: list[list[Sample]]


def group_steps(steps: Iterable[list[Sample]], most: int, workers: int) -> Iterator[list[list[Sample]]]:
    """Group steps into requests: first one step, so that it need not wait for others, then more, up to `most`.

    The number doubles when each of `workers` has been given a group.
    """
    assert most >= 1, most
    rest, size = iter(steps), 1
    for number in count(1):
        group = list(islice(rest, size))
        if not group:
            return
        yield group
        if number % max(workers, 1) == 0:
            size = min(2 * size, most)


class _Permutations:
    """An endless sequence of permutations; holding the current one, 8 bytes a picture, only saves time."""

    def __init__(self, seed: int, number: int, length: int) -> None:
        assert length >= 1, (number, length)
        self.seed, self.number, self.length = seed, number, length
        self.epoch, self.order = -1, np.empty(0, dtype=np.int64)

    def picture(self, place: int) -> int:
        epoch, offset = divmod(place, self.length)
        if epoch != self.epoch:
            generator = np.random.default_rng([_ORDER, self.seed, self.number, epoch])
            self.epoch, self.order = epoch, generator.permutation(self.length)
        return int(self.order[offset])


def _by_key(domain: str, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(Aligned.key(name), name)
        if other != name:
            both = f"{escaped(other)} and {escaped(name)}"
            raise ValueError(f"{both} of {domain.upper()} have the same name up to the extension; remove one")
    return found
