"""Generators measured on held-out pictures, once or every few thousand steps.

    evaluator = Evaluator(tasks_of(generators, held_out, training), Tools(extractor, classifier))
    figures = evaluator.measure(generators)  # by direction

What is known of the real pictures is computed at the first measuring and kept. `training` and the command measure with
this and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.evaluation.image_set import ImageSet, to_bytes, to_unit
from cyclegan.evaluation.metrics.metric import (
    Measured,
    Reference,
    SamplerLike,
    Setup,
    Task,
    Tools,
    TranslatorLike,
)
from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import key_of


def tasks_of(
    directions: Iterable[str],
    held_out: Mapping[str, ImageSet],
    training: Mapping[str, ImageSet],
    truth: Mapping[str, ImageSet] | None = None,
) -> list[Task]:
    """The tasks of some directions: `held_out` and `training` are by domain, `truth` by direction."""
    found = []
    for direction in map(Direction.parse, directions):
        source, target = direction.source, direction.target
        right = (truth or {}).get(direction.key)
        found.append(Task(direction, held_out[target], held_out.get(source), training.get(target), right))
    return found


def measure_batches(setup: Setup, batches: Iterable[Measured], given: frozenset[str] | None = None) -> dict[str, float]:
    """The figures of translations that come in batches, by all metrics whose needs are met by what is `given`.

    Raises `UsageError` for fewer than two pictures where features are compared.
    """
    given = setup.given if given is None else given
    metrics = [kind(setup) for kind in METRICS.values() if kind.needs <= given]
    for batch in batches:
        for metric in metrics:
            metric.add(batch)
    return {name: value for metric in metrics for name, value in metric.figures().items()}


class Evaluator:
    """Measures generators by `tasks`, one for each direction."""

    def __init__(self, tasks: Iterable[Task], tools: Tools) -> None:
        self.tools = tools
        self._references = {task.direction: Reference(task, tools) for task in tasks}

    def measure(
        self, generators: Mapping[str, TranslatorLike | SamplerLike], directions: Iterable[str] | None = None
    ) -> dict[str, float]:
        """The figures of `generators`, by direction, in `directions` or all: `fid_ab`, `cycle_l1_a`, …

        The cycle of a domain is measured where there are generators for both directions. Generators are left as they
        are, and so is the global random state.
        """
        figures: dict[str, float] = {}
        for direction in map(Direction.parse, directions or generators):
            found = self._measure(direction, generators)
            figures |= {key_of(name, direction): value for name, value in found.items()}
        return figures

    def _measure(
        self, direction: Direction, generators: Mapping[str, TranslatorLike | SamplerLike]
    ) -> dict[str, float]:
        reference, forward = self._references[direction], generators[direction.key]
        if isinstance(forward, SamplerLike):
            return measure_batches(Setup(reference), self._sampled(reference.task, forward))
        back = None if direction.reverse is None else generators.get(direction.reverse.key)
        assert not isinstance(back, SamplerLike), direction
        return measure_batches(Setup(reference, forward, back), self._translated(reference.task, forward))

    def _translated(self, task: Task, forward: TranslatorLike) -> Iterator[Measured]:
        assert task.source is not None, task.direction
        truths = None if task.truth is None else task.truth.batches(self.tools.batch)
        for batch in task.source.batches(self.tools.batch):
            real = to_unit(batch).to(forward.device)
            fake = _same_size(forward.unit(real), real)
            truth = None if truths is None else next(truths)
            yield Measured(to_bytes(fake).cpu(), batch, truth, real, fake, self.tools.extractor)

    def _sampled(self, task: Task, forward: SamplerLike) -> Iterator[Measured]:
        """As many samples as there are real pictures."""
        assert task.real is not None, task.direction
        first = 0
        for batch in task.real.batches(self.tools.batch):
            fake = to_bytes(forward.sample(first, len(batch))).cpu()
            yield Measured(fake, extractor=self.tools.extractor)
            first += len(batch)


def _same_size(fake: Tensor, real: Tensor) -> Tensor:
    if fake.shape != real.shape:
        raise UsageError(
            f"MODEL: it makes pictures of {fake.shape[1]} channels out of {real.shape[1]}; only what gives as many "
            "as it takes can be measured"
        )
    return fake
