"""A metric of translations: its contract, and what it is given to measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.directions import Direction
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.image_set import ImageSet

if TYPE_CHECKING:
    from cyclegan.evaluation.metrics.label_maps import Colours
    from cyclegan.evaluation.metrics.lpips import LPIPS

NOISE = 2.0  # standard deviation of the noise in a cycle, in levels of 255
THRESHOLD = 16.0  # levels of 255 within which a pixel is right

Pixels = NDArray[np.uint8]
Kept = TypeVar("Kept")


class TranslatorLike(Protocol):
    """A generator that takes pictures; `cyclegan.translation.Translator` is one."""

    device: torch.device

    def unit(self, batch: Tensor) -> Tensor:
        """NCHW in [-1, 1] on the device -> the same, translated."""
        ...


@runtime_checkable
class SamplerLike(Protocol):
    """A generator that takes noise."""

    def sample(self, first: int, count: int) -> Tensor:
        """The `count` pictures from number `first` on: NCHW in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Task:
    """Pictures for measuring one direction.

    `real` are held-out pictures of the target, `source` the inputs, `training` pictures of the target that were learned
    from, `truth` the right translations in the order of the inputs.
    """

    direction: Direction
    real: ImageSet | None = None
    source: ImageSet | None = None
    training: ImageSet | None = None
    truth: ImageSet | None = None


@dataclass(frozen=True)
class Tools:
    """Networks that measure, and settings of metrics.

    `noise` is that of the honesty of the cycle, `threshold` that of right pixels, both in levels of 255. `batch` is the
    number of pictures that go through a generator together, as many as suit their size without it.
    """

    extractor: Extractor | None = None
    classifier: DomainClassifier | None = None
    lpips: LPIPS | None = None
    colours: Colours | None = None
    seed: int = 0
    noise: float = NOISE
    threshold: float = THRESHOLD
    batch: int | None = None


class Reference:
    """Pictures of a task with what is known of them, which is computed once for any number of measurings."""

    def __init__(self, task: Task, tools: Tools) -> None:
        self.task = task
        self.tools = tools
        self._known: dict[str, Any] = {}

    def features(self, role: str) -> Tensor | None:
        """Features of the pictures in a role of the task (`real`, `source`, `training`); None where it has none."""
        squares, extractor = getattr(self.task, role), self.tools.extractor
        if squares is None or extractor is None:
            return None
        return self.once(f"features of {role}", lambda: extractor.of_all(squares.batches()))

    def once(self, name: str, compute: Callable[[], Kept]) -> Kept:
        """The result of `compute`, kept under `name`."""
        if name not in self._known:
            self._known[name] = compute()
        return cast(Kept, self._known[name])


@dataclass(frozen=True)
class Setup:
    """All that a metric may use in measuring one direction."""

    reference: Reference
    forward: TranslatorLike | None = None
    back: TranslatorLike | None = None  # translates to the source again

    @property
    def task(self) -> Task:
        """The pictures."""
        return self.reference.task

    @property
    def tools(self) -> Tools:
        """The networks and settings."""
        return self.reference.tools

    @property
    def given(self) -> frozenset[str]:
        """Names of what is there, by which a metric says what it needs."""
        parts: Mapping[str, Any] = {"forward": self.forward, "back": self.back} | vars(self.task) | vars(self.tools)
        return frozenset(name for name, part in parts.items() if part is not None)


@dataclass(frozen=True)
class Measured:
    """A batch of translations, uint8 N × 3 × H × W on the CPU, with the inputs and the truths where there are any.

    `inputs` and `outputs` are those of the generator itself: NCHW in [-1, 1] on its device, not rounded.
    """

    fake: Tensor
    source: Tensor | None = None
    truth: Tensor | None = None
    inputs: Tensor | None = None
    outputs: Tensor | None = None
    extractor: Extractor | None = None

    @cached_property
    def features(self) -> Tensor:
        """Features of the translations, computed once for all metrics."""
        assert self.extractor is not None
        return self.extractor(self.fake)


def pairs_of(batch: Measured) -> Iterator[tuple[Pixels, Pixels]]:
    """Each translation of a batch with its truth, height × width × 3."""
    assert batch.truth is not None
    for pair in zip(batch.fake, batch.truth, strict=True):
        picture, truth = (image.permute(1, 2, 0).numpy() for image in pair)
        yield picture, truth


class Metric(ABC):
    """Figures of the translations of one direction, added batch by batch.

    A metric is measured where all that it `needs` is there: names of fields of `Task` and `Tools`, `forward` and
    `back`. `gives` are its figures, as in `cyclegan.figures.FIGURES`; beside `kid` it may give `kid_real` and
    `kid_source`, the same of real and of untranslated pictures.
    """

    needs: ClassVar[frozenset[str]]
    gives: ClassVar[tuple[str, ...]]

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.parts: list[Tensor] = []  # of each batch what the figures are computed from, where that is a tensor

    @abstractmethod
    def add(self, batch: Measured) -> None:
        """Take in a batch."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """The figures of all batches, by name."""
