"""Keys to samples to batches, read by as many workers as there are, the same with any number of them."""

from __future__ import annotations

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
from cyclegan.data.domains import Domains, Pictures
from cyclegan.data.large import Large
from cyclegan.data.layout import Layout
from cyclegan.data.sampler import Request, RequestSampler, StepSampler
from cyclegan.data.shared import Slots
from cyclegan.data.stores import Cache, Prepared
from cyclegan.data.survey import find_views
from cyclegan.data.transforms import Transform, build_transform, mirror, to_planes
from cyclegan.data.views import PLAIN, View, Views
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import Picture, UnreadableImage, printable, read_picture

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
    pictures: Tensor | None  # steps × the shape of the layout; None: they are in the slot
    notes: list[dict[str, Any]]  # of each step {"unreadable", "enlarged": lists of (path, words)}
    failure: CycleganError | None = None  # of the step after those in `notes`


class UnpairedDataset(Dataset[Answer]):
    """Answers to requests, of which `PictureLoader` makes batches.

    How a picture is cut and mirrored follows from the seed, the number of the sample and the domain. Where a picture
    cannot be read, the next readable one by name takes its place and the notes say so. What was scaled up, because
    it is smaller than the crop, is under "enlarged".
    """

    def __init__(
        self,
        domains: Domains,
        transform: Transform,
        seed: int,
        cache: Cache,
        layout: Layout,
        views: Views = PLAIN,
    ) -> None:
        self.pictures: tuple[Pictures, Pictures] = (domains.train_a, domains.train_b)
        self.transform = transform
        self.seed = seed
        self.cache = cache
        self.layout = layout
        self.views: tuple[View, View] = (views["a"], views["b"])
        self.large = Large(len(domains.train_a) + len(domains.train_b)) if transform.windows else None
        self.slots: Slots | None = None

    def __getitem__(self, request: Request) -> Answer:
        if request.slot is not None:
            assert self.slots is not None, request.slot
            planes = self.slots[request.slot]
            answer = Answer(request.slot, None, [])
        else:
            planes = np.empty((len(request.steps), *self.layout.shape), self.layout.dtype)
            answer = Answer(None, torch.from_numpy(planes), [])
        for step, keys in enumerate(request.steps):
            notes: dict[str, Any] = {"unreadable": [], "enlarged": []}
            a, b = self.layout.split(planes[step])
            try:
                for sample, key in enumerate(keys):
                    self._draw(a[sample], 0, key.a, key.number, notes)
                    self._draw(b[sample], 1, key.b, key.number, notes)
            except CycleganError as failure:
                # Handed on as a value: raised in a worker, it would reach the user inside that worker's traceback
                return answer._replace(failure=failure)
            answer.notes.append(notes)
        return answer

    def _draw(self, planes: np.ndarray, domain: int, index: int, number: int, notes: dict[str, Any]) -> None:
        """One picture, or the next that can be read, into `planes`, channels × crop × crop."""
        pictures = self.pictures[domain]
        first_place = domain * len(self.pictures[0])  # in the cache, where B comes after A
        unreadable: list[tuple[str, str]] = notes["unreadable"]
        for offset in range(len(pictures)):
            candidate = (index + offset) % len(pictures)
            path = pictures.path(candidate)
            rng = np.random.default_rng([_AUGMENTATION, self.seed, number, ord("ab"[domain])])
            try:
                square, height, width = self._square(first_place + candidate, path, self.views[domain], rng)
            except UnreadableImage as error:
                unreadable.append((printable(str(error.path)), error.reason))
                continue
            if min(height, width) < self.transform.crop_size:
                notes["enlarged"].append((printable(str(path)), f"{width}×{height}"))
            to_planes(square, planes)
            return
        raise CycleganError(
            f"none of the {len(pictures)} pictures to learn from in {pictures.root} can be read, "
            f"the first because: {unreadable[-len(pictures)][1]}"
        )

    def _square(self, place: int, path: Path, view: View, rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
        """A square of the picture at `place`, as `rng` decides, and the height and width of that picture."""
        regions = None if self.large is None else self.large.reader(place, path)
        if regions is not None:
            height, width = regions.header.height, regions.header.width
            window = self.transform.window(height, width, rng)
            if window is not None:
                size = self.transform.crop_size
                square = shown(Picture(*regions.read(window.top, window.left, size, size)), view, path)
                return mirror(square) if window.mirrored else square, height, width
        picture = self.cache.get(place)
        if picture is None:
            decoded = read_picture(path, at_least=self.transform.load_size)
            picture = Prepared(self.transform.prepare(shown(decoded, view, path)), decoded.height, decoded.width)
            self.cache.put(place, picture)
        return self.transform.vary(picture.pixels, rng), picture.height, picture.width


class PictureLoader(DataLoader[Answer]):
    """A `DataLoader` of answers, several steps each, that yields batches; its length is the number of steps.

    A failure is raised at its step, as the plain sentence that it is.
    """

    def __init__(
        self,
        dataset: UnpairedDataset,
        requests: RequestSampler,
        together: int,
        *,
        pin: bool,
        **options: Any,
    ) -> None:
        self.pictures = dataset
        self.requests = requests
        self.together = together  # steps in an answer, at most
        self.layout = dataset.layout
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
        both = [dict(zip("ab", self.layout.split(step), strict=True)) for step in pictures.unbind()]
        return [batch | note for batch, note in zip(both, notes, strict=True)]

    def _slots(self) -> Slots | None:
        """Slots for all requests that can be out, and for two answers in use: the last, and the one it gives way to.

        Whoever holds on to more gets memory of its own, handed over by torch, which takes 2 ms an answer; so does
        everyone where the system grants no slots.
        """
        if not self.num_workers:
            return None
        try:
            shape = (self.together, *self.layout.shape)
            return Slots(self.num_workers * _PREFETCH + 2, shape, self.layout.dtype)
        except OSError:
            return None


def _unchanged(answer: Any) -> Any:
    return answer


def build_loader(
    config: TrainConfig,
    domains: Domains,
    views: Views | None = None,
    *,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> PictureLoader:
    """Batches for the steps from `start` to `stop`: {"a", "b": NCHW, "unreadable", "enlarged": lists}.

    Pictures are shown as `views` say, found from the pictures when not given: uint8, or float32 in [0, 1].
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
    views = find_views(config, domains) if views is None else views
    transform = build_transform(config, views)
    channels = (views["a"].channels, views["b"].channels)
    layout = Layout(sampler.batch_size, channels, config.crop_size, views["a"].dtype)
    together = _steps_per_request(layout, config.workers)
    cache = open_cache(config, domains, views, transform, ranks=world)
    return PictureLoader(
        UnpairedDataset(domains, transform, config.seed, cache, layout, views),
        RequestSampler(sampler, together, config.workers),
        together,
        pin=pin,
        num_workers=config.workers,
        worker_init_fn=_start_worker,
        prefetch_factor=_PREFETCH if config.workers else None,
        generator=torch.Generator(),  # else starting workers would draw their seed from the global generator
    )


def _steps_per_request(layout: Layout, workers: int) -> int:
    """As many steps as make about 32 pictures, fewer where all that is under way would take too much memory."""
    if not workers:
        return 1  # nothing is handed over, and no step should wait for later ones
    room = _UNDER_WAY // (layout.nbytes * (workers * _PREFETCH + 2))
    return max(min(_PICTURES_PER_REQUEST // (2 * layout.batch), room), 1)


def shown(picture: Picture, view: View, path: Path) -> np.ndarray:
    """What `view` makes of a picture; `UnreadableImage` where it cannot be learnt from with the others."""
    try:
        return view.of(picture)
    except ValueError as error:
        raise UnreadableImage(path, str(error)) from None


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads in each would only take turns
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM every process of a job. Both are for the
    # training process, which saves its state; a worker that died of them would take it along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(signum: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE_S)
