"""The share of translations that the judge takes for pictures of the target."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.metrics.metric import Measured, Metric


class TargetShare(Metric):
    """`judge`, beside it the share of real pictures of the target and that of the untranslated inputs."""

    needs = frozenset({"real", "classifier"})
    gives = ("judge",)

    def add(self, batch: Measured) -> None:
        self.parts.append(self._classifier.verdict(batch.fake))

    def figures(self) -> dict[str, float]:
        return {"judge": self._share(self.parts)} | self.setup.reference.once("judge", self._known)

    @property
    def _classifier(self) -> DomainClassifier:
        assert self.setup.tools.classifier is not None
        return self.setup.tools.classifier

    def _known(self) -> dict[str, float]:
        task = self.setup.task
        return {
            name: self._share(map(self._classifier.verdict, squares.batches()))
            for name, squares in (("judge_real", task.real), ("judge_source", task.source))
            if squares is not None
        }

    def _share(self, verdicts: Iterable[Tensor]) -> float:
        return self._classifier.share(verdicts, self.setup.task.direction.target)
