"""The bench: held-out pictures of both domains, on which generators are measured, once or every few thousand steps.

    bench = Bench(held_out, training, extractor, judge)
    figures = bench.measure({"ab": translator, "ba": translator})

What is known of the real pictures is computed at the first measuring and kept. `training` and the command measure with
this and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.evaluation.answers import Answers
from cyclegan.evaluation.cycle import NOISE, CycleMarks, identity_error
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.judge import Judge
from cyclegan.evaluation.oneway import Figures, OneWay
from cyclegan.evaluation.squares import Squares, to_bytes, to_unit


class Engine(Protocol):
    """What translates: `cyclegan.translation.Translator` does."""

    device: torch.device

    def unit(self, batch: Tensor) -> Tensor:
        """NCHW in [-1, 1] on the device -> the same, translated."""
        ...


class Bench:
    """Pictures to measure generators with: `held_out` and `training` by domain, "a" and "b".

    `answers`, for the direction that there is a truth for, is given with `truth`, the right pictures in the order of
    the held-out ones. `noise` is that of the honesty of the cycle, in levels of 255. `batch` is how many pictures go
    through a generator together, as many as suit their size without it.
    """

    def __init__(
        self,
        held_out: Mapping[str, Squares],
        training: Mapping[str, Squares],
        extractor: Extractor,
        judge: Judge | None = None,
        *,
        seed: int = 0,
        noise: float = NOISE,
        truth: Mapping[str, Squares] | None = None,
        answers: Callable[[], Answers] = Answers,
        batch: int | None = None,
    ) -> None:
        self.held_out = held_out
        self.seed = seed
        self.noise = noise
        self.truth = dict(truth or {})
        self.answers = answers
        self.batch = batch
        self.ways = {
            source + target: OneWay(
                target, held_out[target], held_out[source], training.get(target), extractor, judge, seed=seed
            )
            for source, target in ("ab", "ba")
        }

    def measure(self, translators: Mapping[str, Engine], directions: Sequence[str] = ("ab", "ba")) -> Figures:
        """The figures of generators, named after the direction (`fid_ab`) or the domain (`cycle_l1_a`).

        The cycle of a domain is measured where there are generators for both directions. Generators are left as they
        are, and so is the global random state.
        """
        figures: Figures = {}
        for direction in directions:
            figures |= self._measure(translators, direction)
        return figures

    def _measure(self, translators: Mapping[str, Engine], direction: str) -> Figures:
        source, target = tuple(direction)
        there, back = translators[direction], translators.get(target + source)
        cycle = CycleMarks(noise=self.noise, seed=self.seed)
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

    def _identity(self, translator: Engine, domain: str) -> float:
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
