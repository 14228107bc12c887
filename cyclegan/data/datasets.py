"""Keys to samples to batches, read by as many workers as there are, the same with any number of them."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan.config import TrainConfig
from cyclegan.data.cache import open_cache
from cyclegan.data.domains import Domains, Pictures, by_lot
from cyclegan.data.sampler import Request, RequestSampler, StepSampler
from cyclegan.data.shared import Slots
from cyclegan.data.stores import Cache, Prepared
from cyclegan.data.transforms import Transform, build_transform, fit
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import UnreadableImage, decode_file, printable, read_image

_AUGMENTATION = 2  # tells these random streams from those of the order, which start with another number
# Asking a worker and taking its answer keeps the training process for 1 ms, which is 20 % of a step of 5 ms; spread
# over 16 steps of a batch of one it is 1 %.
_PICTURES_PER_REQUEST = 32
_PREFETCH = 2  # requests that each worker has at a time
_UNDER_WAY = 64 * 2**20  # bytes
_GRACE_S = 30  # how long a worker outlives a SIGTERM; what sends one sends SIGKILL after about as long


class Answer(NamedTuple):
    """Some steps of pictures on their way to the training process."""

    slot: int | None
    pictures: Tensor | None  # uint8, steps × domains × batch × 3 × crop × crop; None: they are in the slot
    notes: list[dict[str, Any]]  # of each step {"unreadable", "enlarged": lists of (path, words)}
    failure: CycleganError | None = None  # of the step after those in `notes`


class UnpairedDataset(Dataset[Answer]):
    """Answers to requests, of which `PictureLoader` makes batches.

    How a picture is cut and mirrored follows from the seed, the number of the sample and the domain. Where a picture
    cannot be read, the next readable one by name takes its place and the notes say so. What was scaled up, because
    it is smaller than the crop, is under "enlarged".
    """

    def __init__(self, domains: Domains, transform: Transform, seed: int, cache: Cache) -> None:
        self.pictures: tuple[Pictures, Pictures] = (domains.train_a, domains.train_b)
        self.transform = transform
        self.seed = seed
        self.cache = cache
        self.slots: Slots | None = None

    def __getitem__(self, request: Request) -> Answer:
        if request.slot is not None:
            assert self.slots is not None, request.slot
            planes = self.slots[request.slot]
            answer = Answer(request.slot, None, [])
        else:
            size = self.transform.crop_size
            pictures = torch.empty(len(request.steps), 2, len(request.steps[0]), 3, size, size, dtype=torch.uint8)
            planes = pictures.numpy()
            answer = Answer(None, pictures, [])
        for step, keys in enumerate(request.steps):
            notes: dict[str, Any] = {"unreadable": [], "enlarged": []}
            try:
                for sample, key in enumerate(keys):
                    self._draw(planes[step, 0, sample], 0, key.a, key.number, notes)
                    self._draw(planes[step, 1, sample], 1, key.b, key.number, notes)
            except CycleganError as failure:
                # Handed on as a value: raised in a worker, it would reach the user inside that worker's traceback
                return answer._replace(failure=failure)
            answer.notes.append(notes)
        return answer

    def _draw(self, planes: np.ndarray, domain: int, index: int, number: int, notes: dict[str, Any]) -> None:
        """One picture into `planes`, 3 × crop × crop."""
        path, picture = self._readable(domain, index, notes["unreadable"])
        if min(picture.height, picture.width) < self.transform.crop_size:
            notes["enlarged"].append((printable(str(path)), f"{picture.width}×{picture.height}"))
        rng = np.random.default_rng([_AUGMENTATION, self.seed, number, ord("ab"[domain])])
        # HWC to CHW, in place and three times as fast as copying a transposed array
        cv2.split(self.transform.vary(picture.pixels, rng), list(planes))

    def _readable(self, domain: int, index: int, unreadable: list[tuple[str, str]]) -> tuple[Path, Prepared]:
        """The picture at `index`, or the next that can be read; what cannot is added to `unreadable`."""
        pictures = self.pictures[domain]
        first_place = domain * len(self.pictures[0])  # in the cache, where B comes after A
        for offset in range(len(pictures)):
            candidate = (index + offset) % len(pictures)
            path = pictures.path(candidate)
            try:
                return path, self._prepared(first_place + candidate, path)
            except UnreadableImage as error:
                unreadable.append((printable(str(error.path)), error.reason))
        raise CycleganError(
            f"none of the {len(pictures)} pictures to learn from in {pictures.root} can be read, "
            f"the first because: {unreadable[-len(pictures)][1]}"
        )

    def _prepared(self, place: int, path: Path) -> Prepared:
        picture = self.cache.get(place)
        if picture is None:
            decoded = decode_file(path, at_least=self.transform.load_size)
            picture = Prepared(self.transform.prepare(decoded.pixels), decoded.height, decoded.width)
            self.cache.put(place, picture)
        return picture


class PictureLoader(DataLoader[Answer]):
    """A `DataLoader` of answers, several steps each, that yields batches; its length is the number of steps.

    A failure is raised at its step, as the plain sentence that it is.
    """

    def __init__(
        self,
        dataset: UnpairedDataset,
        requests: RequestSampler,
        answer_shape: tuple[int, ...],
        *,
        pin: bool,
        **options: Any,
    ) -> None:
        self.pictures = dataset
        self.requests = requests
        self.answer_shape = answer_shape  # steps × domains × batch × 3 × crop × crop
        self.pin = pin  # here and not by DataLoader, which does not know of the slots
        # With no batch size each item of the sampler is one request, and its answer is not stacked with others
        super().__init__(dataset, sampler=requests, batch_size=None, collate_fn=_unchanged, **options)

    def __len__(self) -> int:
        return len(self.requests.steps)

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # all that is used of it is next()
        slots = self._slots()
        if slots is not None:
            self.pictures.slots, self.requests.take = slots, slots.take
        # The iterator starts the workers, and stops them when it goes: no name, by which a traceback would keep it
        for answer in super().__iter__():
            if slots is not None and answer.slot is not None:
                pictures = slots.lend(answer.slot)
            else:
                pictures = answer.pictures
            # All cut up at once: between two steps of a GPU the processor is cold, and a call takes ten times as long
            yield from self._batches(pictures, answer.notes)
            if answer.failure is not None:
                raise answer.failure

    def _batches(self, pictures: Tensor, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        pictures = pictures[: len(notes)]  # requests at the beginning and the end have fewer steps than a slot
        if self.pin:
            pictures = pictures.pin_memory()
        both = [dict(zip("ab", step.unbind(), strict=True)) for step in pictures.unbind()]
        return [batch | note for batch, note in zip(both, notes, strict=True)]

    def _slots(self) -> Slots | None:
        """Slots for all requests that can be out, and for two answers in use: the last, and the one it gives way to.

        Whoever holds on to more gets memory of its own, handed over by torch, which takes 2 ms an answer; so does
        everyone where the system grants no slots.
        """
        if not self.num_workers:
            return None
        try:
            return Slots(self.num_workers * _PREFETCH + 2, self.answer_shape)
        except OSError:
            return None


def _unchanged(answer: Any) -> Any:
    return answer


def build_loader(
    config: TrainConfig,
    domains: Domains,
    *,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> PictureLoader:
    """Batches for the steps from `start` to `stop`: {"a", "b": uint8 NCHW, "unreadable", "enlarged": lists}.

    One iterator serves the whole rest of a run; what --cache ram keeps lasts as long as the loader. Of the global
    batch of `config.batch_size` this rank gets its part. `pin` puts batches into memory that a GPU can copy from in
    the background. Iterating leaves the global random state alone. Raises `UsageError` for a faulty --augment, and
    while iterating `CycleganError` where a whole folder cannot be read.
    """
    if config.batch_size % world:
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide among {world} processes; choose a multiple of {world}"
        )
    sampler = StepSampler(
        len(domains.train_a),
        len(domains.train_b),
        seed=config.seed,
        batch_size=config.batch_size // world,
        rank=rank,
        world=world,
        start=start,
        stop=stop,
    )
    transform = build_transform(config)
    size = config.crop_size
    step_shape = (2, sampler.batch_size, 3, size, size)
    together = _steps_per_request(step_shape, config.workers)
    return PictureLoader(
        UnpairedDataset(domains, transform, config.seed, open_cache(config, domains, ranks=world)),
        RequestSampler(sampler, together, config.workers),
        (together, *step_shape),
        pin=pin,
        num_workers=config.workers,
        worker_init_fn=_start_worker,
        prefetch_factor=_PREFETCH if config.workers else None,
        generator=torch.Generator(),  # else starting workers would draw their seed from the global generator
    )


def _steps_per_request(step_shape: tuple[int, ...], workers: int) -> int:
    """As many steps as make about 32 pictures, fewer where all that is under way would take too much memory."""
    if not workers:
        return 1  # nothing is handed over, and no step should wait for later ones
    room = _UNDER_WAY // (math.prod(step_shape) * (workers * _PREFETCH + 2))
    return max(min(_PICTURES_PER_REQUEST // math.prod(step_shape[:2]), room), 1)


def held_out(domains: Domains, config: TrainConfig, count: int) -> tuple[Tensor, Tensor]:
    """Up to `count` pictures of each domain to look at during a run, always the same ones: uint8 NCHW, crop size.

    They are the first of the held-out pictures by lot, or, where none are held out, of those that are learnt from;
    unreadable ones are passed over. Raises `CycleganError` where none can be read.
    """
    a, b = (
        _first_readable(test if len(test) else train, config, count)
        for train, test in ((domains.train_a, domains.test_a), (domains.train_b, domains.test_b))
    )
    return a, b


def _first_readable(pictures: Pictures, config: TrainConfig, count: int) -> Tensor:
    assert count >= 1, count
    fitted: list[Tensor] = []
    reasons: list[str] = []
    for index in by_lot(pictures):
        try:
            image = read_image(pictures.path(index))
        except UnreadableImage as error:
            reasons.append(str(error))
            continue
        fitted.append(_to_tensor(fit(image, config.load_size, config.crop_size)))
        if len(fitted) == count:
            break
    if not fitted:
        raise CycleganError(f"no held-out picture in {pictures.root} can be read, the first because: {reasons[0]}")
    return torch.stack(fitted)


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # HWC to CHW


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads in each would only take turns
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM every process of a job. Both are for the
    # training process, which saves its state; a worker that died of them would take it along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(signum: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE_S)
