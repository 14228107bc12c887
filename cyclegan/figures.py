"""Figures of a run: names, labels, formats, better ends and intervals. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cyclegan.directions import NOISE, Direction

LOWER, HIGHER = "lower", "higher"
DIRECTION, SOURCE, TARGET = "direction", "source", "target"
LEVELS = "levels"  # of 255

# Mean verdict at which real and fake cannot be told apart, by --adversarial; wgan-gp has none
EQUILIBRIUM = {"lsgan": 0.5, "bce": 0.5, "hinge": 0.0}
Z = 1.96  # standard errors on each side of a normal distribution's middle that hold 95 % of it
SURE = 0.75  # accuracy of the judge on held-out real pictures below which its verdict means little


@dataclass(frozen=True)
class Figure:
    """Presentation of a figure of an evaluation.

    `of` is the ending of its key in a record: the direction (`kid_ab`), or the domain at one end (`cycle_l1_a`).
    `better` is the better end, None where the right value lies between and depends on the data. `better_alone` is that
    in a direction which somebody has chosen by its name, for a figure whose better end depends on the direction.
    """

    label: str
    form: str
    better: str | None = None
    better_alone: str | None = field(default=None, kw_only=True)
    of: str = DIRECTION
    hint: str = ""
    unit: str = ""
    spread: str = ""  # the name of its standard deviation
    compared: bool = False  # with the same figure of real and of untranslated pictures
    shown: bool = True

    @property
    def title(self) -> str:
        return self.label[:1].upper() + self.label[1:]

    @property
    def label_with_unit(self) -> str:
        """Label and unit: `cycle L1 (levels)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def written(self, value: float) -> str:
        """A value in the figure's format, with a space before a percent sign."""
        return self.form.format(value).replace("%", " %")

    def interval(self, low: float, high: float) -> str:
        """An interval in words, the unit said once: `75 to 89 %`."""
        return f"{self.written(low).partition(' ')[0]} to {self.written(high)}"


FIGURES: dict[str, Figure] = {
    "judge": Figure("taken for the target", "{:.0%}", HIGHER, hint="share of the pictures, by the judge"),
    # No better end: a generator that does nothing has the least
    "neither": Figure(
        "taken for neither domain", "{:.0%}", hint="share of the pictures, by the judge: failures", compared=True
    ),
    # Which end is better depends on whether classes of the target or of the source are named
    "class_share": Figure(
        "of the named classes",
        "{:.1%}",
        better_alone=HIGHER,
        hint="share of the pictures, by their top class of ImageNet",
        compared=True,
    ),
    "kid": Figure(
        "KID", "{:.4f}", LOWER, hint="distance from real pictures, unbiased", spread="kid_std", compared=True
    ),
    "fid": Figure("FID", "{:.2f}", LOWER, hint="distance from real pictures; too high for few pictures", compared=True),
    "diversity": Figure("diversity", "{:.3f}", hint="far below real: all outputs are alike", compared=True),
    "nearest": Figure("nearest training picture", "{:.3f}", hint="far below real: copied", compared=True),
    "checkerboard": Figure(
        "checkerboard energy", "{:.3%}", hint="several times real: a pattern of the network", compared=True
    ),
    "luminance_correlation": Figure("luminance correlation", "{:.3f}", hint="1 keeps light and dark, -1 inverts them"),
    "cycle_l1": Figure("cycle L1", "{:.2f}", LOWER, SOURCE, "in levels of 255, after a full cycle", LEVELS),
    "cycle_ssim": Figure("cycle SSIM", "{:.3f}", HIGHER, SOURCE, "1: reconstructed exactly"),
    # A bad cycle also has a ratio of 1, so the ratio alone says nothing
    "cycle_noise_ratio": Figure(
        "cycle L1 with noise", "{:.2f} ×", None, SOURCE, "about 1: nothing hidden; more: hidden detail"
    ),
    "cycle_noise_l1": Figure("cycle L1 with noise", "{:.2f}", LOWER, SOURCE, unit=LEVELS, shown=False),
    "identity_l1": Figure("identity L1", "{:.2f}", LOWER, TARGET, "change of real pictures of the target", LEVELS),
    "identity_perceptual": Figure(
        "identity, perceptual",
        "{:.3f}",
        LOWER,
        TARGET,
        "change of real pictures of the target, by ImageNet",
    ),
    "psnr": Figure("PSNR", "{:.2f} dB", HIGHER, hint="against the truth"),
    "ssim": Figure("SSIM", "{:.4f}", HIGHER, hint="against the truth"),
    "l1": Figure("L1", "{:.2f}", LOWER, hint="against the truth, in levels of 255", unit=LEVELS),
    "rmse": Figure("RMSE", "{:.2f}", LOWER, hint="against the truth, in levels of 255", unit=LEVELS),
    "within": Figure("pixels within threshold", "{:.1%}", HIGHER, hint="against the truth"),
    "perceptual": Figure("perceptual distance", "{:.4f}", LOWER, hint="from the truth, by ImageNet"),
    "lpips": Figure("LPIPS", "{:.4f}", LOWER, hint="against the truth"),
    "pixel_accuracy": Figure("per-pixel accuracy", "{:.1%}", HIGHER, hint="of labels"),
    "class_accuracy": Figure("per-class accuracy", "{:.1%}", HIGHER, hint="of labels"),
    "class_iou": Figure("class IoU", "{:.1%}", HIGHER, hint="of labels"),
}


class Needed(NamedTuple):
    """Fewest held-out pictures of either side for a figure to be of use, and the reason."""

    pictures: int
    reason: str


# Measured with lite0 on photographs of horses and zebras, 128 pixels, equal numbers on both sides, as a share of what
# untranslated pictures score: half the interval of KID 30 % of 20 pictures, 18 % of 50, 12 % of 100; FID of real
# zebras, in truth 0, 31 % of 120, 23 % of 300, 19 % of 500
_SHARES = Needed(100, "of fewer its interval may be wider than ± 10 %")
NEEDED: dict[str, Needed] = {
    "judge": _SHARES,
    "neither": _SHARES,
    "class_share": _SHARES,
    "kid": Needed(50, "of fewer its interval is wider than ± a fifth of what doing nothing scores"),
    "fid": Needed(500, "of fewer it is too high by more than a fifth of what doing nothing scores"),
}


def few_pictures(keys: Iterable[str], count: int) -> list[str]:
    """Clauses on those of the figures, named by their keys, that need more than `count` held-out pictures."""
    names = {name_of(key) for key in keys}
    found: dict[Needed, list[str]] = {}
    for name, needed in NEEDED.items():
        if name in names and count < needed.pictures:
            found.setdefault(needed, []).append(FIGURES[name].label)
    return [f"{' and '.join(labels)}: {pictures}, since {reason}" for (pictures, reason), labels in found.items()]


def key_of(name: str, direction: Direction) -> str:
    """The key of a figure in a record: `kid` -> `kid_ab`, `cycle_l1` -> `cycle_l1_a`."""
    of = FIGURES[name].of if name in FIGURES else DIRECTION
    return f"{name}_{ {DIRECTION: direction.key, SOURCE: direction.source, TARGET: direction.target}[of] }"


def compared(figures: Mapping[str, float], name: str, direction: Direction) -> tuple[float | None, ...]:
    """A figure of translations, of real and of untranslated pictures; None where it is missing."""
    return tuple(figures.get(key_of(f"{name}{part}", direction)) for part in ("", "_real", "_source"))


def name_of(key: str) -> str:
    """Figure name of a key in a record: `kid_ab` and `kid` -> `kid`; the key itself if it is unknown."""
    name = key.rpartition("_")[0]
    return name if name in FIGURES else key


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` pictures, valid for few pictures and near 0 and 1 too."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def variance_about_line(points: Sequence[tuple[float, float]]) -> float | None:
    """Residual variance of points about their straight line; None for fewer than three, which always lie on one."""
    count = len(points)
    if count < 3:
        return None
    middle, mean = (math.fsum(values) / count for values in zip(*points, strict=True))
    centred = [(x - middle, y - mean) for x, y in points]
    slope = math.fsum(x * y for x, y in centred) / math.fsum(x * x for x, _ in centred)
    return math.fsum((y - slope * x) ** 2 for x, y in centred) / (count - 2)


def in_words(direction: Direction, names: Mapping[str, str] | None = None, joint: str = "to") -> str:
    """A direction in words, by domain names or letters: `horses to zebras`."""
    return f"{domain_name(direction.source, names)} {joint} {domain_name(direction.target, names)}"


def subject_of(name: str, direction: Direction, names: Mapping[str, str] | None = None) -> str:
    """Subject of a figure in words: its direction, or the domain at one end."""
    figure = FIGURES[name]
    if figure.of == DIRECTION:
        return in_words(direction, names)
    return domain_name(direction.source if figure.of == SOURCE else direction.target, names)


def domain_name(domain: str, names: Mapping[str, str] | None = None) -> str:
    """Name of a domain, or else its letter; "noise" for noise."""
    return (names or {}).get(domain, "noise" if domain == NOISE else domain.upper())
