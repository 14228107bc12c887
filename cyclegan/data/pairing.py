"""Which two pictures meet at which step: a pure function of the seed, the step and the rank.

Nothing is remembered from one step to the next, so a run resumed at step 1234 needs only that number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from cyclegan.data.sets import PictureSets

_ORDER = 1  # tells the stream of orders from the streams of augmentation, which start with another number


class SampleKey(NamedTuple):
    """One sample: its number in the whole run, and the picture of each domain that it shows."""

    number: int
    a: int
    b: int


def steps_per_epoch(domains: PictureSets, batch_size: int) -> int:
    """Steps in which the larger folder is seen once; `batch_size` counts the pictures of a domain over all ranks."""
    return max(max(len(domains.train_a), len(domains.train_b)) // batch_size, 1)


class StepSampler(Sampler[list[SampleKey]]):
    """For each step from `start` to `stop`, the keys of one rank's batch.

    Sample n of the run takes place n of each domain's endless row of pictures, which is one fresh permutation of the
    folder after the other: within a domain every picture is seen equally often, give or take one, whichever folder is
    the larger, and whatever the batch size leaves over. The two rows are shuffled independently: unpaired. The ranks
    take contiguous parts of a step's samples, so R ranks of batch b see what one rank of batch R·b sees.
    """

    def __init__(
        self,
        length_a: int,
        length_b: int,
        *,
        seed: int,
        batch_size: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        assert min(length_a, length_b, batch_size) >= 1, (length_a, length_b, batch_size)
        assert 0 <= rank < world, (rank, world)
        self.lengths = (length_a, length_b)
        self.seed = seed
        self.batch_size = batch_size  # of this rank
        self.rank, self.world = rank, world
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rows = [_Row(self.seed, domain, length) for domain, length in enumerate(self.lengths)]
        for step in range(self.start, self.stop):
            first = (step * self.world + self.rank) * self.batch_size
            yield [SampleKey(n, rows[0].picture(n), rows[1].picture(n)) for n in range(first, first + self.batch_size)]


class Request(NamedTuple):
    """What a worker is asked for at once: the keys of some steps, and the slot to draw them into, if any."""

    slot: int | None
    steps: list[list[SampleKey]]


class RequestSampler(Sampler[Request]):
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
    """The endless row of one domain. Holds the permutation in use, 8 bytes a picture, only to save time."""

    def __init__(self, seed: int, domain: int, length: int) -> None:
        self.seed, self.domain, self.length = seed, domain, length
        self.lap, self.order = -1, np.empty(0, dtype=np.int64)

    def picture(self, place: int) -> int:
        lap, offset = divmod(place, self.length)
        if lap != self.lap:
            generator = np.random.default_rng([_ORDER, self.seed, self.domain, lap])
            self.lap, self.order = lap, generator.permutation(self.length)
        return int(self.order[offset])
