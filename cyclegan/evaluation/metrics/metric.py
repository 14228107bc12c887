"""Interface of the metrics of translations, and the data they measure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclegan.directions import Direction
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.features.kept_features import computed_features, features_of
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.uncertainty import Interval, bootstrap
from cyclegan.figures import wilson

THRESHOLD = 16.0  # levels of 255 within which a pixel is right

Pixels = NDArray[np.uint8]
T = TypeVar("T")


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
class Tools:
    """Networks and settings of metrics."""

    extractor: Extractor | None = None
    classifier: DomainClassifier | None = None
    classes: Any = None  # cyclegan.evaluation.metrics.class_share.NamedClasses
    perceptual: Any = None  # cyclegan.evaluation.metrics.perceptual.LiteDistance
    lpips: nn.Module | None = None  # cyclegan.evaluation.metrics.lpips.LPIPS
    colours: Any = None  # cyclegan.evaluation.metrics.label_maps.Colours
    seed: int = 0
    threshold: float = THRESHOLD
    batch: int | None = None  # size of batches for generators; None: a number that suits the pictures


@dataclass(frozen=True)
class Setup:
    """Everything that metrics of one direction may use; `known` is kept for later evaluations.

    `real` are held-out pictures of the target, `source` the inputs, `training` training pictures of the target, `truth`
    the true translations in the order of the inputs. `reverse` translates back to the source.
    """

    direction: Direction
    tools: Tools
    real: ImageSet | None = None
    source: ImageSet | None = None
    training: ImageSet | None = None
    truth: ImageSet | None = None
    forward: TranslatorLike | None = None
    reverse: TranslatorLike | None = None
    known: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def given(self) -> set[str]:
        """Names of the fields of this and of its tools that are not None."""
        return {name for name, part in (vars(self) | vars(self.tools)).items() if part is not None}

    def once(self, name: Hashable, compute: Callable[[], T]) -> T:
        """Result of `compute`, cached under `name` for all evaluations."""
        if name not in self.known:
            self.known[name] = compute()
        return cast(T, self.known[name])

    def of_role(self, role: str, compute: Callable[[Tensor], Tensor]) -> Tensor | None:
        """`compute` of all pictures in a role (`real`, `source`, `training`); None if there are none."""
        pictures: ImageSet | None = getattr(self, role)
        return None if pictures is None else torch.cat([compute(batch) for batch in pictures.batches()])

    def features(self, role: str, extractor: Extractor | None = None) -> Tensor | None:
        """Features of the pictures in a role, N × D, by `extractor` if it is not that of the tools."""
        extractor, pictures = extractor or self.tools.extractor, getattr(self, role)
        assert extractor is not None
        if pictures is None:
            return None
        # Those that every start takes are kept on the disk
        compute = features_of if role == "training" else computed_features
        return self.once((role, extractor), partial(compute, extractor, pictures))


@dataclass(frozen=True)
class Measured:
    """A batch of translations, uint8 N × 3 × H × W on the CPU, with inputs and truths if there are any.

    `inputs` and `outputs` are those of the generator itself: NCHW in [-1, 1] on its device, not rounded.
    """

    fake: Tensor
    source: Tensor | None = None
    truth: Tensor | None = None
    inputs: Tensor | None = None
    outputs: Tensor | None = None
    extractor: Extractor | None = None
    known: dict[Extractor, Tensor] = field(default_factory=dict)

    @property
    def features(self) -> Tensor:
        """Features of the translations by the extractor of the tools."""
        assert self.extractor is not None
        return self.features_by(self.extractor)

    def features_by(self, extractor: Extractor) -> Tensor:
        """Features of the translations, computed once for all metrics."""
        if extractor not in self.known:
            self.known[extractor] = extractor(self.fake)
        return self.known[extractor]

    def pairs(self) -> Iterator[tuple[Pixels, Pixels]]:
        """Each translation with its truth, height × width × 3."""
        assert self.truth is not None
        for picture, truth in zip(self.fake, self.truth, strict=True):
            yield picture.permute(1, 2, 0).numpy(), truth.permute(1, 2, 0).numpy()


class Evaluation(NamedTuple):
    """Figures by name, and the 95 % intervals of those that have one."""

    figures: dict[str, float]
    intervals: dict[str, Interval]

    def __or__(self, other: Evaluation) -> Evaluation:
        return Evaluation(self.figures | other.figures, self.intervals | other.intervals)

    def renamed(self, rename: Callable[[str], str]) -> Evaluation:
        """The same under other names."""
        figures = {rename(name): value for name, value in self.figures.items()}
        return Evaluation(figures, {rename(name): ends for name, ends in self.intervals.items()})


class Metric(ABC):
    """Figures of the translations of one direction, added batch by batch.

    A metric is measured if all that it `needs` is given: names of fields of `Setup` and `Tools`. `gives` are its
    figures, as in `cyclegan.figures.FIGURES`; besides `kid` it may give `kid_real` and `kid_source`, the same for real
    and for untranslated pictures.

    Batches leave values of each picture in `parts`, `summary` makes figures of them, and their intervals come from
    resampling the pictures unless `uncertainty` says otherwise.
    """

    needs: ClassVar[frozenset[str]]
    gives: ClassVar[tuple[str, ...]]

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.parts: list[Tensor] = []  # values of the pictures of each batch, N × …

    @abstractmethod
    def add(self, batch: Measured) -> None:
        """Add the values of a batch to `parts`."""

    def summary(self, values: Tensor) -> Mapping[str, Any]:
        """Figures of pictures with these values, N × … or R × N × … of several resamples; by default the mean."""
        (name,) = self.gives
        return {name: values.double().mean(dim=-1)}

    def uncertainty(self, values: Tensor, figures: Mapping[str, float]) -> Mapping[str, Interval]:
        """Intervals of the `figures` of pictures with these values."""
        return bootstrap(self.summary, values, seed=self.setup.tools.seed)

    def evaluation(self) -> Evaluation:
        """Figures of all batches, and their intervals."""
        return self.of_values(torch.cat(self.parts)) if self.parts else Evaluation({}, {})

    def of_values(self, values: Tensor) -> Evaluation:
        """Figures and intervals of pictures with these values; none without pictures."""
        if not len(values):
            return Evaluation({}, {})
        values = values.cpu()
        figures = {name: float(value) for name, value in self.summary(values).items()}
        intervals = self.uncertainty(values, figures).items()
        return Evaluation(figures, {name: ends for name, ends in intervals if all(map(math.isfinite, ends))})


class ComparedMetric(Metric):
    """A metric computed for pictures of other roles as well, by default from features.

    `beside` are these roles by the suffix of their figures, which are computed once for all evaluations.
    """

    beside: ClassVar[Mapping[str, str]] = {"_real": "real", "_source": "source"}

    def add(self, batch: Measured) -> None:
        self.parts.append(batch.features)

    def values(self, role: str) -> Tensor | None:
        """Features or other values of the pictures in a role."""
        return self.setup.features(role)

    def evaluation(self) -> Evaluation:
        return super().evaluation() | self.setup.once(type(self).__name__, self._beside)

    def _beside(self) -> Evaluation:
        found = Evaluation({}, {})
        for suffix, role in self.beside.items():
            if (values := self.values(role)) is not None:
                found |= self.of_values(values).renamed(lambda name, suffix=suffix: name + suffix)  # type: ignore[misc]
        return found


class ShareMetric(ComparedMetric):
    """Shares of pictures: a share of 0 of 120 is uncertain too, which resampling does not show."""

    def uncertainty(self, values: Tensor, figures: Mapping[str, float]) -> Mapping[str, Interval]:
        return {name: wilson(share, len(values)) for name, share in figures.items()}
