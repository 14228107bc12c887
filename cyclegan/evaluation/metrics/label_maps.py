"""Label maps in colours: classes of pixels, and their accuracy.

The three figures of the table for Cityscapes in the papers of pix2pix and CycleGAN (Isola et al. 2017, Zhu et al.
2017), after Long et al. 2015: per-pixel accuracy, per-class accuracy, class IoU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.config.safe_yaml import read_yaml
from cyclegan.errors import UsageError, reason_of
from cyclegan.evaluation.metrics.metric import Measured, Metric, Pixels

IGNORED = "ignore"  # the class whose pixels, in the truth, do not count
_ROWS = 2**16  # pixels compared with the colours at a time


@dataclass(frozen=True)
class Colours:
    """The classes of a label map and the colour of each: `values` is classes × 3."""

    names: tuple[str, ...]
    values: NDArray[np.float64]

    def classes(self, picture: Pixels) -> NDArray[np.intp]:
        """The class with the nearest colour (Euclidean, in RGB) at each pixel of an HWC picture: H × W."""
        pixels = picture.reshape(-1, 3).astype(np.float64)
        found = [
            ((part[:, None] - self.values) ** 2).sum(axis=2).argmin(axis=1)
            for part in np.array_split(pixels, max(1, len(pixels) // _ROWS))
        ]
        return np.concatenate(found).reshape(picture.shape[:2])


def read_colours(path: Path) -> Colours:
    """Read a YAML table of colours, `road: [128, 64, 128]` for each class; else `UsageError`.

    A class called `ignore` may have a colour too: pixels that have it in the truth are left out.
    """
    remedy = "write a line such as `road: [128, 64, 128]` for each class"
    try:
        content = read_yaml(path)
    except OSError as error:
        raise UsageError(f"--labels: cannot read {path} ({reason_of(error).lower()}); {remedy}") from None
    except ValueError:
        raise UsageError(f"--labels: {path} is not YAML; {remedy}") from None
    if not isinstance(content, dict) or len(set(content) - {IGNORED}) < 2:
        raise UsageError(f"--labels: {path} does not name two classes or more; {remedy}")
    for name, colour in content.items():
        levels = [v for v in colour if type(v) is int and 0 <= v <= 255] if isinstance(colour, list) else []
        if levels != colour or len(levels) != 3:
            raise UsageError(
                f"--labels: {path}: {name} has the colour {colour!r}, not three numbers of 0 to 255; {remedy}"
            )
    values = np.array(list(content.values()), np.float64)
    if len(np.unique(values, axis=0)) < len(values):
        raise UsageError(f"--labels: {path} gives two classes the same colour; give each its own")
    return Colours(tuple(str(name) for name in content), values)


def confusion(picture: Pixels, truth: Pixels, colours: Colours) -> NDArray[np.int64]:
    """Confusion matrix `counts[true class, predicted class]` of the pixels of uint8 HWC pictures of one size."""
    assert picture.shape == truth.shape, (picture.shape, truth.shape)
    size = len(colours.names)
    pairs = colours.classes(truth) * size + colours.classes(picture)
    return np.bincount(pairs.ravel(), minlength=size**2).reshape(size, size)


def label_scores(counts: NDArray[np.int64], colours: Colours) -> dict[str, NDArray[np.float64]]:
    """`pixel_accuracy`, `class_accuracy`, `class_iou` of the `confusion` of some pictures, or of each of several.

    A class absent from the truth has no accuracy, and one absent from both has no IoU; the means leave these out.
    Pixels predicted as `ignore` count as wrong.
    """
    counted = [index for index, name in enumerate(colours.names) if name != IGNORED]
    rows = counts[..., counted, :].astype(np.float64)  # rows of the truth that count, and all columns
    correct = rows[..., np.arange(len(counted)), counted]
    true, predicted = rows.sum(axis=-1), rows.sum(axis=-2)[..., counted]
    if not true.any():
        raise UsageError("--labels: no pixel of the truth shows a class that counts; check the table of colours")
    with np.errstate(invalid="ignore"):  # NaN for a resample in which nothing counts
        return {
            "pixel_accuracy": correct.sum(axis=-1) / true.sum(axis=-1),
            "class_accuracy": _mean_share(correct, true),
            "class_iou": _mean_share(correct, true + predicted - correct),
        }


def _mean_share(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of `parts / wholes` over the classes that have a whole."""
    shown = wholes > 0
    shares: NDArray[np.float64] = np.divide(parts, wholes, out=np.zeros_like(parts), where=shown)
    return shares.sum(axis=-1) / shown.sum(axis=-1)


class LabelMaps(Metric):
    """`label_scores` over all translations and their truths."""

    needs = frozenset({"truth", "colours"})
    gives = ("pixel_accuracy", "class_accuracy", "class_iou")

    def add(self, batch: Measured) -> None:
        self.parts += [torch.from_numpy(confusion(*pair, self.setup.tools.colours))[None] for pair in batch.pairs()]

    def summary(self, values: Tensor) -> Mapping[str, Any]:
        return label_scores(values.sum(dim=-3).numpy(), self.setup.tools.colours)
