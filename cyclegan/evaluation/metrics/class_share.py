"""Share of pictures that a network trained on ImageNet takes for one of the named classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cyclegan.errors import UsageError, did_you_mean
from cyclegan.evaluation.features import LITE, Extractor, lite_extractor
from cyclegan.evaluation.metrics.metric import Measured, ShareMetric

OPTION = "--classes"


@dataclass(frozen=True)
class NamedClasses:
    """Some classes of ImageNet by name and index, and a network that scores all of them by its features."""

    names: tuple[str, ...]
    indices: Tensor
    network: Extractor
    scores: Callable[[Tensor], Tensor]

    @torch.inference_mode()
    def verdict(self, features: Tensor) -> Tensor:
        """True where the top class by N × D features of pictures is one of these: N booleans, on the CPU."""
        return torch.isin(self.scores(features).argmax(dim=1).cpu(), self.indices)


def find_classes(text: str | None, device: torch.device, extractor: Extractor | None = None) -> NamedClasses | None:
    """The classes that `--classes` names, None without it; `UsageError` for unknown names, or none in it.

    They are scored by the network of `extractor` if it is an EfficientNet-Lite, so that a picture passes through it
    once, else by Lite0, which is loaded.
    """
    if text is None:
        return None
    names, indices = parse_classes(text)
    if extractor is None or extractor.lite is None:
        extractor = lite_extractor(LITE, device, option=OPTION)
    assert extractor.lite is not None
    return NamedClasses(names, torch.tensor(indices), extractor, extractor.lite.scores)


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
        self.parts.append(self._classes.verdict(batch.features_by(self._classes.network)))

    def values(self, role: str) -> Tensor | None:
        features = self.setup.features(role, self._classes.network)
        return None if features is None else self._classes.verdict(features)

    @property
    def _classes(self) -> NamedClasses:
        classes = self.setup.tools.classes
        assert isinstance(classes, NamedClasses)
        return classes
