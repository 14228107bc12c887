"""Share of pictures that a network trained on ImageNet takes for one of the named classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cyclegan.errors import UsageError, did_you_mean
from cyclegan.evaluation.features import Extractor, lite0_extractor
from cyclegan.evaluation.metrics.metric import Measured, ShareMetric

OPTION = "--classes"


@dataclass(frozen=True)
class NamedClasses:
    """Some classes of ImageNet by name and index, and a network whose features are the scores of all of them."""

    names: tuple[str, ...]
    indices: Tensor
    network: Extractor

    def verdict(self, pictures: Tensor) -> Tensor:
        """True where the top class of uint8 N × 3 × S × S pictures is one of these: N booleans, on the CPU."""
        return torch.isin(self.network(pictures).argmax(dim=1), self.indices)


def find_classes(text: str, device: torch.device) -> NamedClasses:
    """Load the classes that `--classes` names, and EfficientNet-Lite0; `UsageError` for unknown or no names."""
    names, indices = parse_classes(text)
    return NamedClasses(names, torch.tensor(indices), lite0_extractor(device, scores=True))


def parse_classes(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of classes, separated by commas, and their indices; torchvision has the table of them."""
    from torchvision.models import ResNet18_Weights

    known = {name: index for index, name in enumerate(ResNet18_Weights.DEFAULT.meta["categories"])}
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"{OPTION} names nothing; give names of classes of ImageNet, such as zebra,sorrel")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            close = hint if "did you mean" in hint else "; give names as torchvision has them, such as zebra,sorrel"
            raise UsageError(f"{OPTION}: {name!r} is not one of the {len(known)} classes of ImageNet{close}")
    return names, tuple(known[name] for name in names)


class ClassShare(ShareMetric):
    """Share of translations, of real pictures of the target and of inputs whose top class is a named one."""

    needs = frozenset({"real", "classes"})
    gives = ("class_share",)

    def add(self, batch: Measured) -> None:
        self.parts.append(self._classes.verdict(batch.fake))

    def values(self, role: str) -> Tensor | None:
        return self.setup.of_role(role, self._classes.verdict)

    @property
    def _classes(self) -> NamedClasses:
        classes = self.setup.tools.classes
        assert isinstance(classes, NamedClasses)
        return classes
