"""All that is said of translations in one direction, beside what the same figures are for real pictures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from cyclegan.evaluation.distances import Moments, frechet, kernel_distance, refuse_too_few
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.judge import Judge
from cyclegan.evaluation.outputs import checkerboard, diversity, luminance_correlation, nearest
from cyclegan.evaluation.squares import Squares

Figures = dict[str, float]


class OneWay:
    """What translations into a domain are compared with.

    `real` are held-out pictures of the target, `source` the untranslated inputs, `training` pictures of the target that
    were learned from; the last two may be missing. What is known of the real ones is computed once, on first use, and
    serves for any number of `figures`. `target` is "a" or "b".
    """

    def __init__(
        self,
        target: str,
        real: Squares,
        source: Squares | None,
        training: Squares | None,
        extractor: Extractor,
        judge: Judge | None,
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
                verdicts.append(self.judge.taken_for_b(fake))
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
        fid = frechet(Moments.of(features), self._moments)
        return {f"fid{suffix}": fid, f"kid{suffix}": kid.mean, f"kid_std{suffix}": kid.std}

    @cached_property
    def _real(self) -> Tensor:
        features = self.extractor.of_all(self.real.batches())
        refuse_too_few(len(features))
        return features

    @cached_property
    def _moments(self) -> Moments:
        return Moments.of(self._real)

    @cached_property
    def _training(self) -> Tensor | None:
        return None if self.training is None else self.extractor.of_all(self.training.batches())


def _mean(parts: Iterable[Tensor | None]) -> float:
    return float(torch.cat([part for part in parts if part is not None]).mean())
