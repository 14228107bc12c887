"""Which pictures meet in which sample: a pure function of the seed and the number of the sample.

Nothing is remembered from one step to the next, so a run resumed at step 1234 needs only that number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from cyclegan.images import escaped

_ORDER, _AUGMENTATION = 1, 2  # the first number of a random stream, which tells one kind from the other


class Sample(NamedTuple):
    """One sample: its number in the whole run, and the index of the picture that it shows of each domain."""

    number: int
    indices: tuple[int, ...]


class Pairing(Protocol):
    """Correspondence between the pictures of several domains."""

    whole: ClassVar[bool]  # those of a sample stay together: one that cannot be read is replaced with its partners

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        """`lengths` are the numbers of pictures by domain."""

    @staticmethod
    def key(name: str) -> str:
        """The part of a file name that decides whether the picture is held out."""

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """The names by domain in the order of `indices`, without what belongs to nothing; `ValueError`, in words."""

    def indices(self, number: int) -> tuple[int, ...]:
        """The pictures of sample `number`, one of each domain."""

    def stream(self, number: int, domain: str) -> list[int]:
        """The seed of all that is drawn for the picture of `domain` in sample `number`."""


class Unpaired(Pairing):
    """Each domain is an endless row of its own, and nothing in one belongs to anything in another.

    A row is one fresh permutation of the folder after the other: within a domain every picture is seen equally often,
    give or take one, whichever folder is the larger, and whatever the batch size leaves over. The rows are shuffled,
    cut and mirrored independently, and what is seen of a domain does not depend on what other domains there are.
    """

    whole = False

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        self.seed = seed
        self.rows = [_Row(seed, ord(domain) - ord("a"), length) for domain, length in lengths.items()]

    @staticmethod
    def key(name: str) -> str:
        return name

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        return {domain: tuple(some) for domain, some in names.items()}

    def indices(self, number: int) -> tuple[int, ...]:
        return tuple(row.picture(number) for row in self.rows)

    def stream(self, number: int, domain: str) -> list[int]:
        return [_AUGMENTATION, self.seed, number, ord(domain)]


class Aligned(Pairing):
    """Pictures of one name, but for its ending, show the same: they meet in every sample, cut and mirrored alike."""

    whole = True

    def __init__(self, lengths: Mapping[str, int], seed: int) -> None:
        (length,) = set(lengths.values())
        self.seed = seed
        self.domains = len(lengths)
        self.row = _Row(seed, 0, length)

    @staticmethod
    def key(name: str) -> str:
        return os.path.splitext(name)[0]

    @staticmethod
    def match(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        found = {domain: _by_key(domain, some) for domain, some in names.items()}
        common = sorted(set.intersection(*(set(some) for some in found.values())))
        if not common:
            domains = " and ".join(domain.upper() for domain in names)
            raise ValueError(f"no pictures of {domains} share a name; call those of a pair the same but for the ending")
        return {domain: tuple(some[key] for key in common) for domain, some in found.items()}

    def indices(self, number: int) -> tuple[int, ...]:
        return (self.row.picture(number),) * self.domains

    def stream(self, number: int, domain: str) -> list[int]:
        return [_AUGMENTATION, self.seed, number]


PAIRINGS: dict[str, type[Pairing]] = {"unpaired": Unpaired, "aligned": Aligned}


def groups(pairing: Pairing | type[Pairing], domains: Sequence[str]) -> list[tuple[str, ...]]:
    """The domains whose pictures are read and replaced together."""
    return [tuple(domains)] if pairing.whole else [(domain,) for domain in domains]


class StepSampler:
    """For each step from `start` to `stop`, one rank's samples.

    The ranks take contiguous parts of a step's samples, so R ranks of batch b see what one rank of batch R·b sees.
    """

    def __init__(
        self, pairing: Pairing, *, batch_size: int, start: int, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        assert batch_size >= 1, batch_size
        assert 0 <= rank < world, (rank, world)
        self.pairing = pairing
        self.batch_size = batch_size  # of this rank
        self.rank, self.world = rank, world
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[Sample]]:
        for step in range(self.start, self.stop):
            first = (step * self.world + self.rank) * self.batch_size
            yield [Sample(number, self.pairing.indices(number)) for number in range(first, first + self.batch_size)]


class Request(NamedTuple):
    """One request to a worker: the samples of some steps, and the slot to draw them into, if any."""

    slot: int | None
    steps: list[list[Sample]]


class RequestSampler:
    """Requests for some steps each: one at first, which is not to wait for others, then ever more up to `most`.

    The number doubles when each of `workers` has been asked. Every iteration takes its slots by the `take` of its time.
    """

    def __init__(self, steps: StepSampler, most: int, workers: int) -> None:
        assert most >= 1, most
        self.steps = steps
        self.most = most
        self.workers = workers
        self.take: Callable[[], int | None] = _no_slot

    def __iter__(self) -> Iterator[Request]:
        return self._requests(self.take)

    def _requests(self, take: Callable[[], int | None]) -> Iterator[Request]:
        steps = iter(self.steps)
        together = 1
        for number in count(1):
            some = list(islice(steps, together))
            if not some:
                return
            yield Request(take(), some)
            if number % max(self.workers, 1) == 0:
                together = min(2 * together, self.most)


def _no_slot() -> None:
    return None


class _Row:
    """An endless row of pictures. Holds the permutation in use, 8 bytes a picture, only to save time."""

    def __init__(self, seed: int, number: int, length: int) -> None:
        assert length >= 1, (number, length)
        self.seed, self.number, self.length = seed, number, length
        self.lap, self.order = -1, np.empty(0, dtype=np.int64)

    def picture(self, place: int) -> int:
        lap, offset = divmod(place, self.length)
        if lap != self.lap:
            generator = np.random.default_rng([_ORDER, self.seed, self.number, lap])
            self.lap, self.order = lap, generator.permutation(self.length)
        return int(self.order[offset])


def _by_key(domain: str, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(Aligned.key(name), name)
        if other != name:
            both = f"{escaped(other)} and {escaped(name)}"
            raise ValueError(f"{both} of {domain.upper()} have one name but for the ending; remove one")
    return found
