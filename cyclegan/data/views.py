"""What the networks see of a stored picture: how many channels, and which of its numbers are black and white."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclegan.images import Full, Picture, Range, RangeRule, full_range, hiding, parse_range, with_channels

BYTES = np.dtype(np.uint8)
FRACTIONS = np.dtype(np.float32)
FULL = Full()


@dataclass(frozen=True)
class View:
    """How the pictures of one domain are shown to the networks.

    `dtype` is what a picture travels as: uint8 from 0 to 255 where all of a run are stored so, else float32 from 0,
    the low end of the range, to 1, the high one. `stored` is the type that the numbers of `rule` belong to; None: any.
    """

    channels: int = 3
    dtype: np.dtype = BYTES
    rule: RangeRule = FULL
    stored: np.dtype | None = None

    def of(self, picture: Picture) -> np.ndarray:
        """`picture` as HWC of `dtype` and `channels`, white where it is wholly transparent.

        Of partly transparent pixels the stored colour is shown. A uint8 picture shown as bytes is not copied unless
        something in it changes. Raises `ValueError`, in words, for what cannot be shown so.
        """
        if self.stored not in (None, picture.pixels.dtype):
            raise ValueError(
                f"its numbers are {picture.pixels.dtype} and this run learns from a range of {self.stored}"
            )
        scale = self.rule.of([picture.pixels])
        shown = self._scaled(with_channels(picture.pixels, self.channels), scale)
        return hiding(shown, picture.alpha, 255 if self.dtype == BYTES else 1)

    @property
    def depends_on(self) -> tuple[str | int, ...]:
        """What the array that is shown of a picture depends on, in values that print the same everywhere."""
        return self.channels, str(self.dtype), self.rule.text, str(self.stored)

    def _scaled(self, pixels: np.ndarray, scale: Range) -> np.ndarray:
        bytes_ = full_range(BYTES)
        if self.dtype == BYTES:
            same = pixels.dtype == BYTES and scale == bytes_
            return pixels if same else bytes_.from_unit(scale.to_unit(pixels), BYTES)
        fractions = scale.to_unit(pixels)
        fractions += 1
        fractions /= 2
        return fractions


Views = Mapping[str, View]  # of domain "a" and "b"
PLAIN: Views = {"a": View(), "b": View()}  # 8-bit RGB


def ranges_of(views: Views) -> dict[str, Any] | None:
    """What a model keeps of the ranges: `{"a": "100,4000", "b": "0,255", "dtype": "uint16"}`.

    None where each picture is scaled by all that its type can hold, which needs no keeping. The type is None where
    the numbers hold for any.
    """
    if all(isinstance(view.rule, Full) for view in views.values()):
        return None
    stored = views["a"].stored
    return {domain: view.rule.text for domain, view in views.items()} | {
        "dtype": None if stored is None else str(stored)
    }


def record_of(views: Views) -> dict[str, Any]:
    """What a run keeps of its views, as JSON has it, so that going on with it measures nothing again."""
    return {"channels": {domain: view.channels for domain, view in views.items()}, "ranges": ranges_of(views)}


def kept_rules(ranges: Mapping[str, Any] | None) -> tuple[dict[str, RangeRule], np.dtype | None]:
    """By domain the rule that `ranges_of` has kept, and the type that its numbers belong to."""
    if ranges is None:
        return {"a": FULL, "b": FULL}, None
    stored = None if ranges["dtype"] is None else np.dtype(ranges["dtype"])
    return {domain: parse_range(str(ranges[domain])) for domain in "ab"}, stored
