"""The bench: held-out pictures of both domains, on which generators are measured, once or every few thousand steps.

    bench = Bench(held_out, training, extractor, judge)
    figures = bench.measure({"ab": translator, "ba": translator})

What is known of the real pictures is computed at the first measuring and kept. `training` and the command measure with
this and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.image_set import ImageSet, to_bytes, to_unit
from cyclegan.evaluation.metrics.cycle import NOISE, CycleMetrics, identity_error
from cyclegan.evaluation.metrics.fid_kid import FeatureMoments, frechet, kernel_distance, refuse_too_few
from cyclegan.evaluation.metrics.output_statistics import checkerboard, diversity, luminance_correlation, nearest
from cyclegan.evaluation.metrics.paired import PairedMetrics


class TranslatorLike(Protocol):
    """What translates: `cyclegan.translation.Translator` does."""

    device: torch.device

    def unit(self, batch: Tensor) -> Tensor:
        """NCHW in [-1, 1] on the device -> the same, translated."""
        ...


class Evaluator:
    """Pictures to measure generators with: `held_out` and `training` by domain, "a" and "b".

    `answers`, for the direction that there is a truth for, is given with `truth`, the right pictures in the order of
    the held-out ones. `noise` is that of the honesty of the cycle, in levels of 255. `batch` is how many pictures go
    through a generator together, as many as suit their size without it.
    """

    def __init__(
        self,
        held_out: Mapping[str, ImageSet],
        training: Mapping[str, ImageSet],
        extractor: Extractor,
        judge: DomainClassifier | None = None,
        *,
        seed: int = 0,
        noise: float = NOISE,
        truth: Mapping[str, ImageSet] | None = None,
        answers: Callable[[], PairedMetrics] = PairedMetrics,
        batch: int | None = None,
    ) -> None:
        self.held_out = held_out
        self.seed = seed
        self.noise = noise
        self.truth = dict(truth or {})
        self.answers = answers
        self.batch = batch
        self.ways = {
            source + target: DirectionMetrics(
                target, held_out[target], held_out[source], training.get(target), extractor, judge, seed=seed
            )
            for source, target in ("ab", "ba")
        }

    def measure(self, translators: Mapping[str, TranslatorLike], directions: Sequence[str] = ("ab", "ba")) -> Figures:
        """The figures of generators, named after the direction (`fid_ab`) or the domain (`cycle_l1_a`).

        The cycle of a domain is measured where there are generators for both directions. Generators are left as they
        are, and so is the global random state.
        """
        figures: Figures = {}
        for direction in directions:
            figures |= self._measure(translators, direction)
        return figures

    def _measure(self, translators: Mapping[str, TranslatorLike], direction: str) -> Figures:
        source, target = tuple(direction)
        there, back = translators[direction], translators.get(target + source)
        cycle = CycleMetrics(noise=self.noise, seed=self.seed)
        answers = self.answers()
        truths = self.truth[direction].batches(self.batch) if direction in self.truth else None

        def pairs() -> Iterator[tuple[Tensor | None, Tensor]]:
            for batch in self.held_out[source].batches(self.batch):
                real = to_unit(batch).to(there.device)
                fake = _same_size(there.unit(real), real)
                if back is not None:
                    cycle.add(real, fake, back.unit)
                made = to_bytes(fake).cpu()
                if truths is not None:
                    answers.add_batch(made, next(truths))
                yield batch, made

        figures = {f"{name}_{direction}": value for name, value in self.ways[direction].figures(pairs()).items()}
        if back is not None:
            figures |= {f"{name}_{source}": value for name, value in cycle.figures().items()}
        figures[f"identity_l1_{target}"] = self._identity(there, target)
        return figures | {f"{name}_{direction}": value for name, value in answers.figures().items()}

    def _identity(self, translator: TranslatorLike, domain: str) -> float:
        errors = []
        for batch in self.held_out[domain].batches(self.batch):
            real = to_unit(batch).to(translator.device)
            errors.append(identity_error(real, translator.unit(real)))
        return float(torch.cat(errors).mean())


def _same_size(fake: Tensor, real: Tensor) -> Tensor:
    if fake.shape != real.shape:
        raise UsageError(
            f"MODEL: it makes pictures of {fake.shape[1]} channels out of {real.shape[1]}; only what gives as many "
            "as it takes can be measured"
        )
    return fake


Figures = dict[str, float]


class DirectionMetrics:
    """What translations into a domain are compared with.

    `real` are held-out pictures of the target, `source` the untranslated inputs, `training` pictures of the target that
    were learned from; the last two may be missing. What is known of the real ones is computed once, on first use, and
    serves for any number of `figures`. `target` is "a" or "b".
    """

    def __init__(
        self,
        target: str,
        real: ImageSet,
        source: ImageSet | None,
        training: ImageSet | None,
        extractor: Extractor,
        judge: DomainClassifier | None,
        *,
        seed: int = 0,
    ) -> None:
        self.target = target
        self.real = real
        self.source = source
        self.training = training
        self.extractor = extractor
        self.judge = judge
        self.seed = seed

    @cached_property
    def known(self) -> Figures:
        """The figures that no translation is needed for: of the real pictures, and of doing nothing.

        `fid_real` and `kid_real` compare held-out pictures with those learned from: what real pictures of the target
        reach. `fid_source` and `kid_source` are of the untranslated inputs.
        """
        figures: Figures = {"diversity_real": diversity(self._real)}
        share = checkerboard(next(self.real.batches()))
        if share is not None:
            figures["checkerboard_real"] = _mean(checkerboard(batch) for batch in self.real.batches())
        if self.judge is not None:
            figures["judge_real"] = self.judge.share(self.real.batches(), self.target)
        if self._training is not None:
            figures |= self._distances(self._training, "_real")
            figures["nearest_real"] = float(nearest(self._real, self._training).median())
        if self.source is not None:
            features = self.extractor.of_all(self.source.batches())
            figures |= self._distances(features, "_source")
            figures["diversity_source"] = diversity(features)
            if self.judge is not None:
                figures["judge_source"] = self.judge.share(self.source.batches(), self.target)
        return figures

    def figures(self, pairs: Iterable[tuple[Tensor | None, Tensor]]) -> Figures:
        """The figures of translations that come in batches, each with its inputs where they are known.

        Both are uint8 N × 3 × S × S. Raises `UsageError` for fewer than two pictures.
        """
        features, verdicts, likeness, shares = [], [], [], []
        for source, fake in pairs:
            features.append(self.extractor(fake))
            if self.judge is not None:
                verdicts.append(self.judge.is_domain(fake))
            if source is not None:
                likeness.append(luminance_correlation(source, fake))
            shares.append(checkerboard(fake))
        made = torch.cat(features)
        refuse_too_few(len(made))
        figures: Figures = self._distances(made, "") | {"diversity": diversity(made)}
        if verdicts:
            of_b = float(torch.cat(verdicts).double().mean())
            figures["judge"] = {"a": 1 - of_b, "b": of_b}[self.target]
        if self._training is not None:
            figures["nearest"] = float(nearest(made, self._training).median())
        if likeness:
            figures["luminance_correlation"] = float(torch.cat(likeness).mean())
        if shares and shares[0] is not None:
            figures["checkerboard"] = _mean(shares)
        return figures | self.known

    def _distances(self, features: Tensor, suffix: str) -> Figures:
        kid = kernel_distance(features, self._real, seed=self.seed)
        fid = frechet(FeatureMoments.of(features), self._moments)
        return {f"fid{suffix}": fid, f"kid{suffix}": kid.mean, f"kid_std{suffix}": kid.std}

    @cached_property
    def _real(self) -> Tensor:
        features = self.extractor.of_all(self.real.batches())
        refuse_too_few(len(features))
        return features

    @cached_property
    def _moments(self) -> FeatureMoments:
        return FeatureMoments.of(self._real)

    @cached_property
    def _training(self) -> Tensor | None:
        return None if self.training is None else self.extractor.of_all(self.training.batches())


def _mean(parts: Iterable[Tensor | None]) -> float:
    return float(torch.cat([part for part in parts if part is not None]).mean())
