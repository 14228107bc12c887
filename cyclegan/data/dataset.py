"""Samples to batches, read by as many workers as there are, the same with any number of them."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.data.cache.policy import open_cache
from cyclegan.data.cache.stores import Cache, Prepared
from cyclegan.data.kinds import InputKind, InputKinds, find_kinds
from cyclegan.data.loading.buffers import BatchLayout, SharedBuffers
from cyclegan.data.loading.regions import Large
from cyclegan.data.loading.workers import PREFETCH, WorkerPool
from cyclegan.data.pairing import PAIRINGS, Pairing, Request, RequestSampler, StepSampler, groups
from cyclegan.data.sets import PictureSets
from cyclegan.data.transforms import Transform, build_transform, mirror, require_one_view, to_planes
from cyclegan.errors import CycleganError, UsageError, first_line
from cyclegan.images import Picture, UnreadableImage, escaped, read_picture

# Asking a worker and taking its answer keeps the training process for a part of a millisecond, which is much beside a
# step of 5 ms; spread over 16 steps of a batch of one it is nothing.
_PICTURES_PER_REQUEST = 32
_UNDER_WAY = 64 * 2**20  # bytes


class PreparedPicture(NamedTuple):
    """Some steps of pictures on their way to the training process."""

    slot: int | None
    pictures: np.ndarray | None  # steps × the shape of the layout; None: they are in the slot
    notes: list[dict[str, Any]]  # of each step {"unreadable", "enlarged": lists of (path, words)}
    failure: CycleganError | None = None  # of the step after those in `notes`


class Drawn(NamedTuple):
    """A square for the networks, and the picture that it was cut from."""

    square: np.ndarray
    path: Path
    height: int  # as decoded
    width: int


class TrainingPictures:
    """Answers to requests, of which `PictureLoader` makes batches.

    How a picture is cut and mirrored follows from the seed, the number of the sample and the domain, as `pairing` has
    it. Where a picture cannot be read, the next readable one takes its place, together with its partners where those
    of a sample stay together, and the notes say so. What was scaled up, because it is smaller than the crop, is under
    "enlarged". Pictures go by place: domain after domain.
    """

    def __init__(
        self, sets: PictureSets, kinds: InputKinds, pairing: Pairing, transform: Transform, cache: Cache, batch: int
    ) -> None:
        self.domains = tuple(sets.train)
        self.groups = groups(pairing, self.domains)
        self.pictures = sets.train
        self.kinds = kinds
        self.pairing = pairing
        self.transform = transform
        self.cache = cache
        (dtype,) = {kind.dtype for kind in kinds.values()}  # one for all pictures of a run
        channels = tuple(kinds[domain].channels for domain in self.domains)
        self.layout = BatchLayout(batch, channels, transform.crop_size, dtype)
        ends = list(accumulate(len(self.pictures[domain]) for domain in self.domains))
        self.first = dict(zip(self.domains, [0, *ends], strict=False))  # the place of each domain's first picture
        self.large = Large(ends[-1]) if transform.windows else None
        self.slots: SharedBuffers | None = None
        self.at: Callable[[int], None] = _nobody  # is told the place of each picture before it is touched
        self.avoided: dict[int, str] = {}  # places of pictures that readers were lost at, with what happened

    def path(self, place: int) -> Path:
        """The file of the picture at `place`."""
        domain = next(domain for domain in reversed(self.domains) if self.first[domain] <= place)
        return self.pictures[domain].path(place - self.first[domain])

    def __getitem__(self, request: Request) -> PreparedPicture:
        if request.slot is not None:
            assert self.slots is not None, request.slot
            planes = self.slots[request.slot]
            answer = PreparedPicture(request.slot, None, [])
        else:
            planes = np.empty((len(request.steps), *self.layout.shape), self.layout.dtype)
            answer = PreparedPicture(None, planes, [])
        for step, samples in enumerate(request.steps):
            notes: dict[str, Any] = {"unreadable": [], "enlarged": []}
            parts = dict(zip(self.domains, self.layout.split(planes[step]), strict=True))
            try:
                for place, sample in enumerate(samples):
                    indices = dict(zip(self.domains, sample.indices, strict=True))
                    for group in self.groups:
                        drawn = self._draw({domain: indices[domain] for domain in group}, sample.number, notes)
                        for domain, square in zip(group, drawn, strict=True):
                            to_planes(square, parts[domain][place])
            except CycleganError as failure:
                # Handed on as a value: raised in a worker, it would reach the user inside that worker's traceback
                return answer._replace(failure=failure)
            answer.notes.append(notes)
        return answer

    def _draw(self, indices: Mapping[str, int], number: int, notes: dict[str, Any]) -> list[np.ndarray]:
        """A square of each picture, or of the next ones of which all can be read."""
        count = len(self.pictures[next(iter(indices))])
        unreadable: list[tuple[str, str]] = notes["unreadable"]
        for offset in range(count):
            try:
                drawn = [self._square(domain, (index + offset) % count, number) for domain, index in indices.items()]
                require_one_view({each.path: (each.height, each.width) for each in drawn}, self.transform.load_size)
            except UnreadableImage as error:
                unreadable.append((escaped(str(error.path)), error.reason))
                continue
            small = [each for each in drawn if min(each.height, each.width) < self.transform.crop_size]
            notes["enlarged"] += [(escaped(str(each.path)), f"{each.width}×{each.height}") for each in small]
            return [each.square for each in drawn]
        roots = " and ".join(str(self.pictures[domain].root) for domain in indices)
        raise CycleganError(
            f"none of the {count} pictures to learn from in {roots} can be read, "
            f"the first because: {unreadable[-count][1]}"
        )

    def _square(self, domain: str, index: int, number: int) -> Drawn:
        """The input that sample `number` takes from a picture; `UnreadableImage`, or another error in words."""
        path = self.pictures[domain].path(index)
        place = self.first[domain] + index
        if place in self.avoided:
            raise UnreadableImage(path, self.avoided[place])
        self.at(place)
        rng = np.random.default_rng(self.pairing.stream(number, domain))
        try:
            return self._cut(place, path, self.kinds[domain], rng)
        except UnreadableImage:
            raise
        except Exception as error:
            raise explain_unreadable(path, error) from error

    def _cut(self, place: int, path: Path, kind: InputKind, rng: np.random.Generator) -> Drawn:
        regions = None if self.large is None else self.large.reader(place, path)
        if regions is not None:
            height, width = regions.header.height, regions.header.width
            window = self.transform.window(height, width, rng)
            if window is not None:
                size = self.transform.crop_size
                square = to_input(Picture(*regions.read(window.top, window.left, size, size)), kind, path)
                return Drawn(mirror(square) if window.mirrored else square, path, height, width)
        picture = self.cache.get(place)
        if picture is None:
            decoded = read_picture(path, at_least=self.transform.load_size)
            picture = Prepared(self.transform.prepare(to_input(decoded, kind, path)), decoded.height, decoded.width)
            self.cache.put(place, picture)
        return Drawn(self.transform.augment(picture.pixels, rng), path, picture.height, picture.width)


class PictureLoader:
    """Batches made of answers of several steps each; its length is the number of steps.

    A failure is raised at its step, as the plain sentence that it is.
    """

    def __init__(
        self,
        dataset: TrainingPictures,
        requests: RequestSampler,
        together: int,
        *,
        workers: int,
        timeout: float,
        pin: bool,
    ) -> None:
        self.dataset = dataset
        self.requests = requests
        self.together = together  # steps in an answer, at most
        self.layout = dataset.layout
        self.workers = workers
        self.timeout = timeout  # seconds that one picture may keep a reader
        self.pin = pin
        self.multiprocessing_context: str | None = None  # how readers are started; None: as Python does here

    def __len__(self) -> int:
        return len(self.requests.steps)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        slots = self._slots()
        if slots is not None:
            self.requests.take = slots.take
        # No name for the iterator, by which a traceback would keep it: readers end when it goes
        for answer in self._answers(slots):
            if slots is not None and answer.slot is not None:
                pictures = slots.lend(answer.slot)
            else:
                pictures = torch.from_numpy(answer.pictures)
            # All cut up at once: between two steps of a GPU the processor is cold, and a call takes ten times as long
            yield from self._batches(pictures, answer.notes)
            if answer.failure is not None:
                raise answer.failure

    def _answers(self, slots: SharedBuffers | None) -> Iterator[PreparedPicture]:
        if not self.workers:
            return map(self.dataset.__getitem__, self.requests)
        own = copy.copy(self.dataset)  # two iterations at once have slots of their own
        own.slots = slots
        readers = WorkerPool(own, self.workers, timeout=self.timeout, context=self.multiprocessing_context)
        return readers.answers(iter(self.requests))

    def _batches(self, pictures: Tensor, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pictures = pictures[: len(notes)]  # requests at the beginning and the end have fewer steps than a slot
        if self.pin:
            pictures = pictures.pin_memory()
        batches = [dict(zip(self.dataset.domains, self.layout.split(step), strict=True)) for step in pictures.unbind()]
        return [batch | note for batch, note in zip(batches, notes, strict=True)]

    def _slots(self) -> SharedBuffers | None:
        """Slots for all requests that can be out, and for two answers in use: the last, and the one it gives way to.

        Whoever holds on to more gets memory of its own, copied through a pipe, which takes milliseconds an answer; so
        does everyone where the system grants no slots.
        """
        if not self.workers:
            return None
        try:
            shape = (self.together, *self.layout.shape)
            return SharedBuffers(self.workers * PREFETCH + 2, shape, self.layout.dtype)
        except OSError:
            return None


def _nobody(place: int) -> None:
    """Whom a dataset tells what it is at, where it reads in the training process."""


def build_loader(
    config: TrainConfig,
    sets: PictureSets,
    kinds: InputKinds | None = None,
    *,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> PictureLoader:
    """Batches for the steps from `start` to `stop`: {"a", "b", …: NCHW, "unreadable", "enlarged": lists}.

    Pictures are shown as `kinds` say, found from the pictures when not given: uint8, or float32 in [0, 1].
    One iterator serves the whole rest of a run; what --cache ram keeps lasts as long as the loader. Of the global
    batch of `config.batch_size` this rank gets its part. `pin` puts batches into memory that a GPU can copy from in
    the background. Iterating leaves the global random state alone. Raises `UsageError` for a faulty --augment, and
    while iterating `CycleganError` where a whole folder cannot be read.
    """
    if config.batch_size % world:
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide among {world} processes; choose a multiple of {world}"
        )
    pairing = PAIRINGS[sets.pairing]({domain: len(found) for domain, found in sets.train.items()}, config.seed)
    batch = config.batch_size // world
    sampler = StepSampler(pairing, batch_size=batch, rank=rank, world=world, start=start, stop=stop)
    kinds = find_kinds(config, sets) if kinds is None else kinds
    transform = build_transform(config, kinds.values(), paired=pairing.whole)
    cache = open_cache(config, sets, kinds, transform, ranks=world)
    dataset = TrainingPictures(sets, kinds, pairing, transform, cache, batch)
    together = _steps_per_request(dataset.layout, config.workers)
    return PictureLoader(
        dataset,
        RequestSampler(sampler, together, config.workers),
        together,
        workers=config.workers,
        timeout=config.worker_timeout,
        pin=pin,
    )


def _steps_per_request(layout: BatchLayout, workers: int) -> int:
    """As many steps as make about 32 pictures, fewer where all that is under way would take too much memory."""
    if not workers:
        return 1  # nothing is handed over, and no step should wait for later ones
    room = _UNDER_WAY // (layout.nbytes * (workers * PREFETCH + 2))
    return max(min(_PICTURES_PER_REQUEST // (len(layout.channels) * layout.batch), room), 1)


def to_input(picture: Picture, kind: InputKind, path: Path) -> np.ndarray:
    """Convert a picture to the input that `kind` describes; `UnreadableImage` where it does not suit the others.

    Numbers that are not finite are none of a picture: painted black, as in translating, they would be learnt.
    """
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        count = picture.pixels.size - np.count_nonzero(np.isfinite(picture.pixels))
        raise UnreadableImage(path, f"{count} of its {picture.pixels.size} numbers are not finite (NaN or Inf)")
    try:
        return kind.of(picture)
    except ValueError as error:
        raise UnreadableImage(path, str(error)) from None


def explain_unreadable(path: Path, error: Exception) -> Exception:
    """An error other than an unreadable file, as one sentence that names the file.

    The traceback goes along as a note, which survives the way out of a reader: it may be a mistake of ours.
    """
    name = escaped(str(path))
    if isinstance(error, UsageError):  # by --augment
        return UsageError(f"{error} (the picture is {name})")
    if isinstance(error, CycleganError | AssertionError):
        return error
    if isinstance(error, MemoryError):
        return CycleganError(
            f"{name}: memory ran out while it was read; lower --workers, give --cache disk, or remove it"
        )
    failure = CycleganError(
        f"{name} could not be made part of a batch ({type(error).__name__}: {first_line(error)}); "
        "mend or remove it, or report this with the picture"
    )
    failure.add_note("".join(traceback.format_exception(error)))
    return failure
