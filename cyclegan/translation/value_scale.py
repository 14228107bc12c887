"""Conversion between stored pixel values and network values in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclegan.directions import Direction
from cyclegan.images import Full, Picture, Range, RangeRule, hiding, parse_range, with_channels

FULL = Full()


@dataclass(frozen=True)
class ValueScale:
    """Value ranges of one direction.

    `source` finds the range of an input picture; `target` that of its translation (None: the same). A range measured
    in training holds only for pixels of the type it was measured on, `dtype` (None: any).
    """

    source: RangeRule = FULL
    target: RangeRule | None = None
    dtype: np.dtype | None = None

    @classmethod
    def of_model(cls, info: Mapping[str, Any], direction: Direction) -> ValueScale:
        """Read the ranges of training: `info["ranges"] = {"a": "100,4000", "b": …, "dtype": "uint16"}`."""
        kept = info.get("ranges")
        if kept is None:
            return cls()
        dtype = kept.get("dtype")
        source, target = (
            parse_range(str(kept[domain]), "MODEL: range") for domain in (direction.source, direction.target)
        )
        return cls(source, target, None if dtype is None else np.dtype(dtype))

    def between(self, picture: Picture) -> tuple[Range, Range]:
        """Ranges of `picture` and of its translation; `ValueError` with a readable reason if it has none."""
        return self.of_parts(picture.pixels.dtype, lambda rule: [picture.pixels])

    def of_parts(self, dtype: np.dtype, parts: Callable[[RangeRule], Iterable[np.ndarray]]) -> tuple[Range, Range]:
        """Like `between`, for a picture of `dtype` whose pixels `parts(rule)` yields part by part."""
        if self.dtype not in (None, dtype):
            raise ValueError(
                f"its numbers are {dtype} and the model learned a range of {self.dtype}; "
                "say by --range what is black and white in it"
            )
        source = self.source.of(parts(self.source))
        return source, source if self.target is None else self.target.of(parts(self.target))


def to_model_input(pixels: np.ndarray, alpha: np.ndarray | None, source: Range, channels: int) -> np.ndarray:
    """Adapt stored pixels to a network of `channels` channels; `ValueError` as `with_channels` raises."""
    return with_channels(hiding(pixels, alpha, source.high), channels)
