"""Batches of training pictures, the same with any number of workers."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.data.cache import Cache, Prepared, open_cache
from cyclegan.data.kinds import InputKind, InputKinds, find_kinds
from cyclegan.data.loading.buffers import BatchLayout, SharedBuffers
from cyclegan.data.loading.regions import LargePictures
from cyclegan.data.loading.workers import PREFETCH, WorkerPool
from cyclegan.data.pairing import PAIRINGS, Pairing, Request, StepSampler, group_steps, groups
from cyclegan.data.sets import PictureSets
from cyclegan.data.transforms import Transform, build_transform, mirror, require_equal_size, to_planes
from cyclegan.errors import CycleganError, UsageError, first_line
from cyclegan.images import Picture, UnreadableImage, escaped, read_picture

# A request and its answer occupy the training process for a fraction of a millisecond, which is much compared with a
# step of 5 ms, but negligible when spread over 16 steps of a batch of one.
_PICTURES_PER_REQUEST = 32
_BYTES_IN_FLIGHT = 64 * 2**20


class StepPictures(NamedTuple):
    """Answer to a request: the pictures of some steps."""

    slot: int | None
    pictures: np.ndarray | None  # steps × the shape of the layout; None: they are in the slot
    notes: list[dict[str, Any]]  # of each step {"unreadable", "enlarged": lists of (path, text)}
    failure: CycleganError | None = None  # of the step after those in `notes`


class TrainingPictures:
    """Dataset that answers requests, from which `PictureLoader` makes batches.

    Crop and flip are determined by the seed, the number of the sample and, depending on `pairing`, the domain. An
    unreadable picture is replaced by the next readable one, together with its partners where samples stay whole, and
    noted as "unreadable". Pictures smaller than the crop are scaled up and noted as "enlarged". A picture is identified
    by its place, counted domain after domain.
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
        self.large = LargePictures(ends[-1]) if transform.windows else None
        self.slots: SharedBuffers | None = None
        self.at: Callable[[int], None] = _no_board  # called with the place of each picture before it is touched
        self.avoided: dict[int, str] = {}  # places of pictures at which workers were lost, with the reason

    def path(self, place: int) -> Path:
        """The file of the picture at `place`."""
        domain = next(domain for domain in reversed(self.domains) if self.first[domain] <= place)
        return self.pictures[domain].path(place - self.first[domain])

    def __getitem__(self, request: Request) -> StepPictures:
        if request.slot is None:
            planes = np.empty((len(request.steps), *self.layout.shape), self.layout.dtype)
        else:
            assert self.slots is not None, request.slot
            planes = self.slots[request.slot]
        answer = StepPictures(request.slot, planes if request.slot is None else None, [])
        for step, samples in enumerate(request.steps):
            notes: dict[str, Any] = {"unreadable": [], "enlarged": []}
            parts = dict(zip(self.domains, self.layout.split(planes[step]), strict=True))
            try:
                for place, sample in enumerate(samples):
                    indices = dict(zip(self.domains, sample.indices, strict=True))
                    for group in self.groups:
                        crops = self._readable({domain: indices[domain] for domain in group}, sample.number, notes)
                        for domain, crop in zip(group, crops, strict=True):
                            to_planes(crop.pixels, parts[domain][place])
            except CycleganError as failure:
                # Returned as a value: raised in a worker, it would reach the user inside that worker's traceback
                return answer._replace(failure=failure)
            answer.notes.append(notes)
        return answer

    def _readable(self, indices: Mapping[str, int], number: int, notes: dict[str, Any]) -> list[Prepared]:
        """Crops of the pictures, or of the next ones that can all be read."""
        count = len(self.pictures[next(iter(indices))])
        unreadable: list[tuple[str, str]] = notes["unreadable"]
        for offset in range(count):
            try:
                crops = dict(self._crop(domain, (index + offset) % count, number) for domain, index in indices.items())
                sizes = {path: (crop.height, crop.width) for path, crop in crops.items()}
                require_equal_size(sizes, self.transform.load_size)
            except UnreadableImage as error:
                unreadable.append((escaped(str(error.path)), error.reason))
                continue
            small = {path: size for path, size in sizes.items() if min(size) < self.transform.crop_size}
            notes["enlarged"] += [(escaped(str(path)), f"{width}×{height}") for path, (height, width) in small.items()]
            return list(crops.values())
        roots = " and ".join(str(self.pictures[domain].root) for domain in indices)
        raise CycleganError(
            f"none of the {count} training pictures in {roots} can be read; "
            f"the first failed because: {unreadable[-count][1]}"
        )

    def _crop(self, domain: str, index: int, number: int) -> tuple[Path, Prepared]:
        """A crop for sample `number`; any error names the file."""
        path = self.pictures[domain].path(index)
        place = self.first[domain] + index
        if place in self.avoided:
            raise UnreadableImage(path, self.avoided[place])
        self.at(place)
        rng = np.random.default_rng(self.pairing.stream(number, domain))
        try:
            return path, self._cropped(place, path, self.kinds[domain], rng)
        except UnreadableImage:
            raise
        except Exception as error:
            raise explain_unreadable(path, error) from error

    def _cropped(self, place: int, path: Path, kind: InputKind, rng: np.random.Generator) -> Prepared:
        regions = None if self.large is None else self.large.reader(place, path)
        if regions is not None:
            height, width = regions.header.height, regions.header.width
            window = self.transform.window(height, width, rng)
            if window is not None:
                size = self.transform.crop_size
                crop = to_input(Picture(*regions.read(window.top, window.left, size, size)), kind, path)
                return Prepared(mirror(crop) if window.mirrored else crop, height, width)
        picture = self.cache.get(place)
        if picture is None:
            decoded = read_picture(path, at_least=self.transform.load_size)
            picture = Prepared(self.transform.prepare(to_input(decoded, kind, path)), decoded.height, decoded.width)
            self.cache.put(place, picture)
        return picture._replace(pixels=self.transform.augment(picture.pixels, rng))


def _no_board(place: int) -> None:
    """Stand-in for `ProgressBoard.put` in the training process."""


@dataclass
class PictureLoader:
    """Iterable of batches, requested several steps at a time; its length is the number of steps.

    A failure is raised at its step, without the traceback of a worker.
    """

    dataset: TrainingPictures
    steps: StepSampler
    workers: int
    timeout: float  # seconds that one picture may occupy a worker
    pin: bool
    multiprocessing_context: str | None = None  # start method of workers; None: Python's default here

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        per_request, slots = self._slots()
        steps = group_steps(self.steps, per_request, self.workers)
        requests = (Request(None if slots is None else slots.take(), some) for some in steps)
        # The iterator gets no name, by which a traceback would keep it alive: workers end when it is deleted
        for answer in self._answers(requests, slots):
            if slots is not None and answer.slot is not None:
                pictures = slots.lend(answer.slot)
            else:
                pictures = torch.from_numpy(answer.pictures)
            # All split at once: between two steps of a GPU the processor is cold, and a call takes ten times as long
            yield from self._batches(pictures, answer.notes)
            if answer.failure is not None:
                raise answer.failure

    def _answers(self, requests: Iterator[Request], slots: SharedBuffers | None) -> Iterator[StepPictures]:
        if not self.workers:
            return map(self.dataset.__getitem__, requests)
        own = copy.copy(self.dataset)  # concurrent iterations have separate slots
        own.slots = slots
        pool = WorkerPool(own, self.workers, timeout=self.timeout, context=self.multiprocessing_context)
        return pool.answers(requests)

    def _batches(self, pictures: Tensor, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pictures = pictures[: len(notes)]  # the first and the last requests have fewer steps than a slot
        if self.pin:
            pictures = pictures.pin_memory()
        domains, layout = self.dataset.domains, self.dataset.layout
        parts = [dict(zip(domains, layout.split(step), strict=True)) for step in pictures.unbind()]
        return [batch | note for batch, note in zip(parts, notes, strict=True)]

    def _slots(self) -> tuple[int, SharedBuffers | None]:
        """Steps per request, and slots for the answers.

        A request has about 32 pictures, or fewer to limit the memory of all that are in flight. There are slots for
        all of these and for two answers in use, the latest and the one before. A user that keeps more of them, or a
        system that grants no slots, gets answers copied through a pipe, which takes milliseconds each.
        """
        if not self.workers:
            return 1, None  # nothing is transferred, and no step should wait for later ones
        layout, count = self.dataset.layout, self.workers * PREFETCH + 2
        wanted = _PICTURES_PER_REQUEST // (len(layout.channels) * layout.batch)
        per_request = max(min(wanted, _BYTES_IN_FLIGHT // (layout.nbytes * count)), 1)
        try:
            return per_request, SharedBuffers(count, (per_request, *layout.shape), layout.dtype)
        except OSError:
            return per_request, None


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

    Pictures are uint8, or float32 in [0, 1], according to `kinds`, which by default are found from the pictures. One
    iterator serves the whole rest of a run; a cache in memory lasts as long as the loader. This rank gets its share of
    the global batch of `config.batch_size`. `pin` puts batches into pinned memory, from which a GPU copies in the
    background. Iterating leaves the global random state unchanged. Raises `UsageError` for a faulty --augment, and
    while iterating `CycleganError` if no picture of a folder can be read.
    """
    if config.batch_size % world:
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide among {world} processes; choose a multiple of {world}"
        )
    pairing = PAIRINGS[sets.pairing]({domain: len(found) for domain, found in sets.train.items()}, config.seed)
    batch = config.batch_size // world
    steps = StepSampler(pairing, batch_size=batch, rank=rank, world=world, start=start, stop=stop)
    kinds = find_kinds(config, sets) if kinds is None else kinds
    transform = build_transform(config, kinds.values(), paired=pairing.whole)
    cache = open_cache(config, sets, kinds, transform, ranks=world)
    dataset = TrainingPictures(sets, kinds, pairing, transform, cache, batch)
    return PictureLoader(dataset, steps, config.workers, config.worker_timeout, pin)


def to_input(picture: Picture, kind: InputKind, path: Path) -> np.ndarray:
    """Convert a picture to the input that `kind` describes; `UnreadableImage` if it does not fit.

    Numbers that are not finite are refused: shown black, as in translation, they would be learned.
    """
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        count = picture.pixels.size - np.count_nonzero(np.isfinite(picture.pixels))
        raise UnreadableImage(path, f"{count} of its {picture.pixels.size} numbers are not finite (NaN or Inf)")
    try:
        return kind.of(picture)
    except ValueError as error:
        raise UnreadableImage(path, str(error)) from None


def explain_unreadable(path: Path, error: Exception) -> Exception:
    """Convert an unexpected error to one sentence that names the file.

    The traceback is attached as a note, which survives the transfer from a worker: the cause may be our mistake.
    """
    name = escaped(str(path))
    if isinstance(error, UsageError):  # from --augment
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
