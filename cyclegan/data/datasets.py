"""Keys to samples to batches, read by as many workers as there are, the same with any number of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan.config import TrainConfig
from cyclegan.data.domains import Domains, Pictures, by_lot
from cyclegan.data.sampler import Key, StepSampler
from cyclegan.data.transforms import Transform, build_transform, fit
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import UnreadableImage, printable, read_image

_AUGMENTATION = 2  # tells these random streams from those of the order, which start with another number
_GRACE_S = 30  # how long a worker outlives a SIGTERM; what sends one sends SIGKILL after about as long


class UnpairedDataset(Dataset[dict[str, Any]]):
    """Samples by `Key`: {"a", "b": uint8 CHW, "unreadable", "enlarged": lists of (path, words)}.

    How a picture is cut and mirrored follows from the seed, the number of the sample and the domain. Where a picture
    cannot be read, the next readable one by name takes its place and the sample says so. What was scaled up, because
    it is smaller than the crop, is under "enlarged".
    """

    def __init__(self, domains: Domains, transform: Transform, seed: int) -> None:
        self.pictures: dict[str, Pictures] = {"a": domains.train_a, "b": domains.train_b}
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: Key) -> dict[str, Any]:
        sample: dict[str, Any] = {"unreadable": [], "enlarged": []}
        try:
            for domain, index in (("a", key.a), ("b", key.b)):
                sample[domain] = self._picture(domain, index, key.number, sample)
        except (CycleganError, UsageError) as failure:
            # Handed on as a value: raised in a worker, it would reach the user inside that worker's traceback
            return {"failure": failure}
        return sample

    def _picture(self, domain: str, index: int, number: int, sample: dict[str, Any]) -> Tensor:
        pictures = self.pictures[domain]
        index, image = _readable(pictures, index, sample["unreadable"])
        height, width = image.shape[:2]
        if min(height, width) < self.transform.crop_size:
            sample["enlarged"].append((printable(str(pictures.path(index))), f"{width}×{height}"))
        rng = np.random.default_rng([_AUGMENTATION, self.seed, number, ord(domain)])
        return _to_tensor(self.transform(image, rng))


class PictureLoader(DataLoader[dict[str, Any]]):
    """A `DataLoader` whose samples may carry a failure, which it raises as the plain sentence that it is."""

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # all that is used of it is next()
        for batch in super().__iter__():
            if "failure" in batch:
                raise batch["failure"]
            yield batch


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

    One iterator serves the whole rest of a run. Of the global batch of `config.batch_size` this rank gets its part.
    `pin` puts batches into memory that a GPU can copy from in the background. Iterating leaves the global random
    state alone. Raises `UsageError` for a faulty --augment, and while iterating `CycleganError` where a whole folder
    cannot be read.
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
    return PictureLoader(
        UnpairedDataset(domains, build_transform(config), config.seed),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=config.workers,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if config.workers else None,
        pin_memory=pin,
        generator=torch.Generator(),  # else starting workers would draw their seed from the global generator
    )


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples to a batch; the first failure stands for all of it."""
    for sample in samples:
        if "failure" in sample:
            return sample
    batch: dict[str, Any] = {name: torch.stack([sample[name] for sample in samples]) for name in ("a", "b")}
    for name in ("unreadable", "enlarged"):
        batch[name] = [item for sample in samples for item in sample[name]]
    return batch


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


def _readable(pictures: Pictures, index: int, unreadable: list[tuple[str, str]]) -> tuple[int, np.ndarray]:
    """The picture at `index`, or the next that can be read; what cannot is added to `unreadable`."""
    for offset in range(len(pictures)):
        candidate = (index + offset) % len(pictures)
        try:
            return candidate, read_image(pictures.path(candidate))
        except UnreadableImage as error:
            unreadable.append((printable(str(error.path)), error.reason))
    raise CycleganError(
        f"none of the {len(pictures)} pictures to learn from in {pictures.root} can be read, "
        f"the first because: {unreadable[-len(pictures)][1]}"
    )


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # HWC to CHW


def _start_worker(_: int) -> None:
    import cv2  # only with workers: in the training process OpenCV keeps its threads

    cv2.setNumThreads(0)  # the workers are the parallelism; threads in each would only take turns
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM every process of a job. Both are for the
    # training process, which saves its state; a worker that died of them would take it along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(signum: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE_S)
