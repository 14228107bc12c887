"""Evaluator of generators on held-out pictures, once or every few thousand steps.

    evaluator = Evaluator(Tools(extractor, classifier), directions, held_out, training)
    figures = evaluator.measure(generators)  # by direction

Statistics of the real pictures are computed at the first evaluation and kept. Both `training` and the command use this
class alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial, reduce
from itertools import repeat
from operator import or_

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.metric import Evaluation, Measured, SamplerLike, Setup, Tools, TranslatorLike
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import key_of
from cyclegan.system.pixels import to_bytes, to_unit


class Evaluator:
    """Measures generators in `directions`: `held_out` and `training` are by domain, `truth` by direction."""

    def __init__(
        self,
        tools: Tools,
        directions: Iterable[str],
        held_out: Mapping[str, ImageSet],
        training: Mapping[str, ImageSet],
        truth: Mapping[str, ImageSet] | None = None,
    ) -> None:
        self._setups: dict[str, Setup] = {}
        for key in directions:
            direction, true_images = Direction.parse(key), (truth or {}).get(key)
            source, target = direction.source, direction.target
            pictures = held_out[target], held_out.get(source), training.get(target), true_images
            self._setups[key] = Setup(direction, tools, *pictures)

    def prepare(self) -> None:
        """Compute features of the training pictures now, which may take a minute, and keep them."""
        for setup in self._setups.values():
            if setup.tools.extractor is not None:
                setup.features("training")

    def measure(
        self, generators: Mapping[str, TranslatorLike | SamplerLike], directions: Iterable[str] | None = None
    ) -> Evaluation:
        """Measure `generators` (by direction) in `directions`, or in all: `fid_ab`, `cycle_l1_a`, …, with intervals.

        The cycle of a domain is measured if there are generators for both directions. Neither generators nor the global
        random state are changed.
        """
        total = Evaluation({}, {})
        for key in directions or generators:
            setup, forward = self._setups[key], generators[key]
            if isinstance(forward, SamplerLike):
                found = measure_batches(setup, _sampled(setup, forward))
            else:
                opposite = setup.direction.reverse
                reverse = None if opposite is None else generators.get(opposite.key)
                assert not isinstance(reverse, SamplerLike), key
                found = measure_batches(replace(setup, forward=forward, reverse=reverse), _translated(setup, forward))
            total |= found.renamed(partial(key_of, direction=setup.direction))
        return total


def measure_batches(setup: Setup, batches: Iterable[Measured], given: set[str] | None = None) -> Evaluation:
    """Measure batches of translations by all metrics whose needs are `given`.

    Raises `UsageError` for fewer than two pictures where features are compared.
    """
    metrics = [metric(setup) for metric in METRICS.values() if metric.needs <= (given or setup.given)]
    for batch in batches:
        for metric in metrics:
            metric.add(batch)
    return reduce(or_, (metric.evaluation() for metric in metrics), Evaluation({}, {}))


def _translated(setup: Setup, forward: TranslatorLike) -> Iterator[Measured]:
    assert setup.source is not None, setup.direction
    count = setup.tools.batch
    truths = repeat(None) if setup.truth is None else setup.truth.batches(count)
    for batch, truth in zip(setup.source.batches(count), truths, strict=False):
        real = to_unit(batch).to(forward.device)
        fake = forward.unit(real)
        if fake.shape != real.shape:
            raise UsageError(
                f"MODEL: it translates {real.shape[1]} channels into {fake.shape[1]}; evaluation needs as many output "
                "as input channels"
            )
        yield Measured(to_bytes(fake).cpu(), batch, truth, real, fake, setup.tools.extractor)


def _sampled(setup: Setup, forward: SamplerLike) -> Iterator[Measured]:
    """Batches of as many samples as there are real pictures."""
    assert setup.real is not None, setup.direction
    first = 0
    for batch in setup.real.batches(setup.tools.batch):
        yield Measured(to_bytes(forward.sample(first, len(batch))).cpu(), extractor=setup.tools.extractor)
        first += len(batch)
