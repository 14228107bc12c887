"""Figures of a run: names, labels, formats and better ends. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cyclegan.directions import NOISE, Direction

LOWER, HIGHER = "lower", "higher"
DIRECTION, SOURCE, TARGET = "direction", "source", "target"
LEVELS = "levels"  # of 255

# Mean verdict at which real and fake cannot be told apart, by --adversarial; wgan-gp has none
EQUILIBRIUM = {"lsgan": 0.5, "bce": 0.5, "hinge": 0.0}
SURE = 0.75  # accuracy of the judge on held-out real pictures below which its verdict means little


@dataclass(frozen=True)
class Figure:
    """Presentation of a figure of an evaluation.

    `of` is the ending of its key in a record: the direction (`kid_ab`), or the domain at one end (`cycle_l1_a`).
    `better` is the better end, None where the right value lies between and depends on the data.
    """

    label: str
    form: str
    better: str | None = None
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
        """`cycle L1 (levels)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def written(self, value: float) -> str:
        """A value in the figure's format, with a space before a percent sign."""
        return self.form.format(value).replace("%", " %")


FIGURES: dict[str, Figure] = {
    "judge": Figure("taken for the target", "{:.0%}", HIGHER, hint="share of the pictures, by the judge"),
    "kid": Figure(
        "KID", "{:.4f}", LOWER, hint="distance from real pictures, unbiased", spread="kid_std", compared=True
    ),
    "fid": Figure("FID", "{:.2f}", LOWER, hint="distance from real pictures; too high of few pictures", compared=True),
    "diversity": Figure("diversity", "{:.3f}", hint="far below real: all outputs are alike", compared=True),
    "nearest": Figure("nearest training picture", "{:.3f}", hint="far below real: copied", compared=True),
    "checkerboard": Figure(
        "checkerboard energy", "{:.3%}", hint="several times real: a pattern of the network", compared=True
    ),
    "luminance_correlation": Figure("luminance correlation", "{:.3f}", hint="1 keeps light and dark, -1 inverts them"),
    "cycle_l1": Figure("cycle L1", "{:.2f}", LOWER, SOURCE, "in levels of 255, there and back", LEVELS),
    "cycle_ssim": Figure("cycle SSIM", "{:.3f}", HIGHER, SOURCE, "1: comes back equal"),
    # A bad cycle has a ratio of 1, so that it says nothing alone
    "cycle_noise_ratio": Figure(
        "cycle L1 with noise", "{:.2f} ×", None, SOURCE, "about 1 is honest; more hides detail"
    ),
    "cycle_noise_l1": Figure("cycle L1 with noise", "{:.2f}", LOWER, SOURCE, unit=LEVELS, shown=False),
    "identity_l1": Figure("identity L1", "{:.2f}", LOWER, TARGET, "change of what is in the target already", LEVELS),
    "psnr": Figure("PSNR", "{:.2f} dB", HIGHER, hint="beside the truth"),
    "ssim": Figure("SSIM", "{:.4f}", HIGHER, hint="beside the truth"),
    "l1": Figure("L1", "{:.2f}", LOWER, hint="beside the truth, in levels of 255", unit=LEVELS),
    "rmse": Figure("RMSE", "{:.2f}", LOWER, hint="beside the truth, in levels of 255", unit=LEVELS),
    "within": Figure("pixels within threshold", "{:.1%}", HIGHER, hint="beside the truth"),
    "lpips": Figure("LPIPS", "{:.4f}", LOWER, hint="beside the truth"),
    "pixel_accuracy": Figure("per-pixel accuracy", "{:.1%}", HIGHER, hint="of labels"),
    "class_accuracy": Figure("per-class accuracy", "{:.1%}", HIGHER, hint="of labels"),
    "class_iou": Figure("class IoU", "{:.1%}", HIGHER, hint="of labels"),
}


def key_of(name: str, direction: Direction) -> str:
    """The key of a figure in a record: `kid` -> `kid_ab`, `cycle_l1` -> `cycle_l1_a`."""
    of = FIGURES[name].of if name in FIGURES else DIRECTION
    return f"{name}_{ {DIRECTION: direction.key, SOURCE: direction.source, TARGET: direction.target}[of] }"


def compared(figures: Mapping[str, float], name: str, direction: Direction) -> tuple[float | None, ...]:
    """A figure of translations, of real and of untranslated pictures; None for what lacks."""
    return tuple(figures.get(key_of(f"{name}{part}", direction)) for part in ("", "_real", "_source"))


def name_of(key: str) -> str:
    """The figure that a key of a record names: `kid_ab` and `kid` -> `kid`; the key itself where none is known."""
    name = key.rpartition("_")[0]
    return name if name in FIGURES else key


def in_words(direction: Direction, names: Mapping[str, str] | None = None, joint: str = "to") -> str:
    """`horses to zebras`, by the names of the domains, or by their letters."""
    return f"{domain_name(direction.source, names)} {joint} {domain_name(direction.target, names)}"


def subject_of(name: str, direction: Direction, names: Mapping[str, str] | None = None) -> str:
    """The subject of a figure of a direction, in words: the direction, or the domain at one of its ends."""
    figure = FIGURES[name]
    if figure.of == DIRECTION:
        return in_words(direction, names)
    return domain_name(direction.source if figure.of == SOURCE else direction.target, names)


def domain_name(domain: str, names: Mapping[str, str] | None = None) -> str:
    """The name of a domain: its own, or else its letter."""
    return (names or {}).get(domain, "noise" if domain == NOISE else domain.upper())
