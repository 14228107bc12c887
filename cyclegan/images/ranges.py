"""Which numbers of a picture are black and white to the network, and how its answer becomes such numbers again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cyclegan.errors import UsageError

WAYS = "use full, minmax, percentile:1,99 or two numbers such as 0,4095"


@dataclass(frozen=True)
class Range:
    """The stored numbers that are -1 and 1 to a network. What lies outside is cut off."""

    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low < self.high, (self.low, self.high)

    def to_unit(self, pixels: np.ndarray) -> np.ndarray:
        """Stored numbers of any type -> float32 in [-1, 1]; what is no number becomes the lowest."""
        unit: np.ndarray = pixels.astype(np.float32 if pixels.dtype.itemsize <= 2 else np.float64)
        unit = (unit - self.low) * (2 / (self.high - self.low)) - 1
        return np.nan_to_num(np.clip(unit, -1, 1), nan=-1.0).astype(np.float32)

    def from_unit(self, unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """float32 in [-1, 1] -> stored numbers of `dtype`, to the nearest where that has whole numbers only."""
        exact = (np.clip(unit, -1, 1).astype(np.float64) + 1) * ((self.high - self.low) / 2) + self.low
        if np.issubdtype(dtype, np.floating):
            return exact.astype(dtype)
        if dtype.kind == "b":
            return exact >= (self.low + self.high) / 2
        limits = np.iinfo(dtype)
        return np.clip(np.rint(exact), limits.min, limits.max).astype(dtype)


class RangeRule(ABC):
    """How a range is found; `text` is what a user writes for it."""

    text: str

    @abstractmethod
    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range for pictures like these, of one type. `ValueError`, in words, where they do not have one."""


class Full(RangeRule):
    """All that the type can hold; [0, 1] for fractions. The same for every picture, so nothing is looked at."""

    text = "full"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range of the type of the first array; `ValueError` for types too wide to mean all they can hold."""
        first = next(iter(arrays))
        return full_range(first.dtype)


class MinMax(RangeRule):
    """From the least to the greatest number there is."""

    text = "minmax"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range of all arrays together."""
        lows, highs = [], []
        for array in arrays:
            finite = array if array.dtype.kind != "f" else array[np.isfinite(array)]
            if finite.size:
                lows.append(float(finite.min()))
                highs.append(float(finite.max()))
        return _between(min(lows, default=0.0), max(highs, default=0.0))


@dataclass(frozen=True)
class Percentile(RangeRule):
    """From one percentile to another, so that a few hot pixels do not take the contrast of all others."""

    low: float
    high: float

    @property
    def text(self) -> str:  # type: ignore[override]
        """As a user writes it."""
        return f"percentile:{self.low:g},{self.high:g}"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The range of all arrays together; of each no more than a million numbers, evenly spread, are looked at."""
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
    """Two numbers given by the user, or found in training and kept with the model."""

    range: Range

    @property
    def text(self) -> str:  # type: ignore[override]
        """As a user writes it."""
        return f"{self.range.low:.9g},{self.range.high:.9g}"

    def of(self, arrays: Iterable[np.ndarray]) -> Range:
        """The two numbers."""
        return self.range


def full_range(dtype: np.dtype) -> Range:
    """All that `dtype` can hold; [0, 1] for fractions and truth values.

    Raises `ValueError` for whole numbers of 32 bits and more, of which pictures use a small part.
    """
    if dtype.kind in "fb":
        return Range(0.0, 1.0)
    if dtype.itemsize > 2:
        raise ValueError(f"{dtype} numbers say nothing of what is white; give --range minmax or --range LO,HI")
    limits = np.iinfo(dtype)
    return Range(float(limits.min), float(limits.max))


def parse_range(text: str, option: str = "--range") -> RangeRule:
    """The rule that `text` means; `UsageError` that names `option` otherwise."""
    for rule in (Full(), MinMax()):
        if text == rule.text:
            return rule
    name, _, values = text.rpartition(":")
    low, high = _two_numbers(values, text, option)
    if name == "percentile":
        if not 0 <= low < high <= 100:
            raise UsageError(f"{option} {text}: percentiles rise from 0 to 100; {WAYS}")
        return Percentile(low, high)
    if name or not low < high:
        raise UsageError(f"{option} {text}: not a range of numbers; {WAYS}")
    return Fixed(Range(low, high))


def _two_numbers(values: str, text: str, option: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in values.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: not a range of numbers; {WAYS}") from None
    if not np.isfinite([low, high]).all():
        raise UsageError(f"{option} {text}: not a range of finite numbers; {WAYS}")
    return low, high


def _between(low: float, high: float) -> Range:
    """The range from `low` to `high`; of pictures of one constant number a range that has it at the bottom."""
    return Range(low, high if high > low else low + 1)
