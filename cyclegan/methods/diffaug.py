"""Differentiable augmentation of discriminator inputs (Zhao et al. 2020, https://arxiv.org/abs/2006.10738).

With few pictures a discriminator memorises them: its score of a fake says only that it is not among them. Augmenting
the real pictures alone would teach the generators to make augmented ones. Here real pictures and fakes both go through
the same random changes, for the discriminator's loss and for the generators', whose gradients pass through them. No
unchanged picture is left to memorise, and the changes are not imitated as long as they can be undone in distribution
(they do not leak: Karras et al. 2020, https://arxiv.org/abs/2006.06676).

Random draws are keyed by picture (`cyclegan.system.rng`): the same on every device, without synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.errors import lookup
from cyclegan.losses import Scores
from cyclegan.system import rng

SHIFT = 1 / 8  # largest shift in each direction, as a share of the side
HOLE = 1 / 2  # side of the hole, as a share of the picture's


def color(pictures: Tensor) -> Tensor:
    """Independent brightness ± 0.5 (of the range from -1 to 1), saturation × 0 to 2, contrast × 0.5 to 1.5."""
    brightness, saturation, contrast = rng.uniform(len(pictures), 3, 1, 1, 1).to(pictures).unbind(1)
    changed = pictures + (brightness - 0.5)
    grey = changed.mean(1, keepdim=True)
    changed = grey + (changed - grey) * (2 * saturation)
    mean = changed.mean((1, 2, 3), keepdim=True)
    return mean + (changed - mean) * (contrast + 0.5)


def translation(pictures: Tensor) -> Tensor:
    """Shift by up to an eighth of the side, in whole pixels, filled with grey."""
    height, width = pictures.shape[-2:]
    down, right = round(height * SHIFT), round(width * SHIFT)
    padded = F.pad(pictures, (right, right, down, down))
    tops = rng.integers(2 * down + 1, len(pictures)).tolist()
    lefts = rng.integers(2 * right + 1, len(pictures)).tolist()
    places = zip(padded, tops, lefts, strict=True)
    return torch.stack([picture[:, top : top + height, left : left + width] for picture, top, left in places])


def cutout(pictures: Tensor) -> Tensor:
    """Cut a grey hole of half the side, centred anywhere in the picture."""
    height, width = pictures.shape[-2:]
    tall, wide = round(height * HOLE), round(width * HOLE)
    kept = torch.ones(len(pictures), 1, height, width)
    rows = rng.integers(height, len(pictures)).tolist()
    columns = rng.integers(width, len(pictures)).tolist()
    for mask, row, column in zip(kept, rows, columns, strict=True):
        top, left = row - tall // 2, column - wide // 2
        mask[:, max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = 0
    return pictures * kept.to(pictures)


POLICIES: dict[str, Callable[[Tensor], Tensor]] = {"color": color, "translation": translation, "cutout": cutout}


def parse_policies(names: str) -> tuple[Callable[[Tensor], Tensor], ...]:
    """The policies of a list such as "color,translation", in its order; `UsageError` for an unknown name."""
    return tuple(lookup(POLICIES, name.strip(), "--diffaug") for name in names.split(",") if name.strip())


class Augmented:
    """A discriminator of NCHW pictures changed by `policies`, drawn afresh at each call.

    Not a module: the weights belong to the wrapped discriminator.
    """

    def __init__(self, discriminator: nn.Module, policies: tuple[Callable[[Tensor], Tensor], ...]) -> None:
        self.discriminator = discriminator
        self.policies = policies
        self.per_sample = getattr(discriminator, "per_sample", False)

    def __call__(self, pictures: Tensor) -> Scores:
        for change in self.policies:
            pictures = change(pictures)
        scores: Scores = self.discriminator(pictures)
        return scores
