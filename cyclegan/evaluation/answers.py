"""Translations of which the right answer is known, all figures of them in one place."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cyclegan.evaluation.labels import Colours, Confusion
from cyclegan.evaluation.paired import THRESHOLD, marks
from cyclegan.evaluation.perceptual import LPIPS


@dataclass
class Answers:
    """Means over pictures of the figures of `paired.marks`, of LPIPS where there is one, and of label maps."""

    threshold: float = THRESHOLD
    lpips: LPIPS | None = None
    colours: Colours | None = None
    _marks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _confusion: Confusion | None = field(default=None, repr=False)

    def add(self, picture: np.ndarray, truth: np.ndarray) -> None:
        """A translation and its truth: uint8 HWC of one size."""
        for name, value in marks(picture, truth, self.threshold).items():
            self._marks[name].append(value)
        if self.lpips is not None:
            with torch.inference_mode():
                self._marks["lpips"].append(float(self.lpips(_batch(picture), _batch(truth))))
        if self.colours is not None:
            if self._confusion is None:
                self._confusion = Confusion(self.colours)
            self._confusion.add(picture, truth)

    def add_batch(self, pictures: Tensor, truths: Tensor) -> None:
        """The same for uint8 N × 3 × H × W."""
        for picture, truth in zip(pictures, truths, strict=True):
            self.add(*(image.permute(1, 2, 0).numpy() for image in (picture, truth)))

    def figures(self) -> dict[str, float]:
        """`psnr`, `ssim`, `l1`, `rmse`, `within`; `lpips`; `pixel_accuracy`, `class_accuracy`, `class_iou`."""
        means = {name: math.fsum(values) / len(values) for name, values in self._marks.items()}
        return means | (self._confusion.marks() if self._confusion is not None else {})


def _batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
