"""Mapping between stored values and the network's [-1, 1], and rules to find it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cyclegan.errors import UsageError

WAYS = "use full, minmax, percentile:1,99 or two numbers such as 0,4095"


@dataclass(frozen=True)
class Range:
    """The stored values that map to -1 and 1; values outside are clipped."""

    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low < self.high, (self.low, self.high)

    def to_unit(self, pixels: np.ndarray) -> np.ndarray:
        """Stored values of any type -> float32 in [-1, 1]; NaN becomes -1."""
        unit: np.ndarray = pixels.astype(np.float32 if pixels.dtype.itemsize <= 2 else np.float64)
        unit = (unit - self.low) * (2 / (self.high - self.low)) - 1
        return np.nan_to_num(np.clip(unit, -1, 1), nan=-1.0).astype(np.float32)

    def from_unit(self, unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """float32 in [-1, 1] -> stored values of `dtype`, rounded for integer types."""
        exact = (np.clip(unit, -1, 1).astype(np.float64) + 1) * ((self.high - self.low) / 2) + self.low
        if np.issubdtype(dtype, np.floating):
            return exact.astype(dtype)
        if dtype.kind == "b":
            return exact >= (self.low + self.high) / 2
        limits = np.iinfo(dtype)
        return np.clip(np.rint(exact), limits.min, limits.max).astype(dtype)


class RangeRule(ABC):
    """Rule to find a range; `text` is its form in options."""

    text: str

    @abstractmethod
    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range for these pictures, all of one type; `ValueError` with a readable reason if none."""


class Full(RangeRule):
    """Full range of the type, [0, 1] for floats: the same for every picture of a type."""

    text = "full"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        return full_range(next(iter(arrays)).dtype)


class MinMax(RangeRule):
    """Range from the least to the greatest value."""

    text = "minmax"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        lows, highs = [], []
        for array in arrays:
            finite = array if array.dtype.kind != "f" else array[np.isfinite(array)]
            if finite.size:
                lows.append(float(finite.min()))
                highs.append(float(finite.max()))
        return _between(min(lows, default=0.0), max(highs, default=0.0))


@dataclass(frozen=True)
class Percentile(RangeRule):
    """Range between two percentiles, so that a few hot pixels do not compress the contrast."""

    low: float
    high: float

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"percentile:{self.low:g},{self.high:g}"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range of all arrays together, from about a million evenly spread values of each."""
        parts = []
        for array in arrays:
            numbers = array.reshape(-1)[:: max(1, array.size // 10**6)]
            parts.append(numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers)
        numbers = np.concatenate(parts)
        if not numbers.size:
            raise ValueError("it holds no finite number")
        return _between(*(float(edge) for edge in np.percentile(numbers, (self.low, self.high))))


@dataclass(frozen=True)
class Fixed(RangeRule):
    """Two given values: from the user, or found in training and stored with the model."""

    range: Range

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"{self.range.low:.9g},{self.range.high:.9g}"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        return self.range


def full_range(dtype: np.dtype) -> Range:
    """Full range of `dtype`; [0, 1] for floats and booleans.

    Raises `ValueError` for integers of 32 bits and more, of which pictures use a small part.
    """
    if dtype.kind in "fb":
        return Range(0.0, 1.0)
    if dtype.itemsize > 2:
        raise ValueError(f"{dtype} numbers say nothing of what is white; give --range minmax or --range LO,HI")
    limits = np.iinfo(dtype)
    return Range(float(limits.min), float(limits.max))


def parse_range(text: str, option: str = "--range") -> RangeRule:
    """Parse a rule from `text`; `UsageError` names `option`."""
    for rule in (Full(), MinMax()):
        if text == rule.text:
            return rule
    name, _, values = text.rpartition(":")
    try:
        low, high = (float(value) for value in values.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: not a range of numbers; {WAYS}") from None
    if not np.isfinite([low, high]).all():
        raise UsageError(f"{option} {text}: not a range of finite numbers; {WAYS}")
    if name == "percentile":
        if not 0 <= low < high <= 100:
            raise UsageError(f"{option} {text}: percentiles rise from 0 to 100; {WAYS}")
        return Percentile(low, high)
    if name or not low < high:
        raise UsageError(f"{option} {text}: not a range of numbers; {WAYS}")
    return Fixed(Range(low, high))


def _between(low: float, high: float) -> Range:
    """The range from `low` to `high`; for a single constant value, a range that starts at it."""
    return Range(low, high if high > low else low + 1)
