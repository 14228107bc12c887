"""Curves of any length in bounded memory: least, greatest and mean value per column of a chart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COLUMNS = 480  # least number for a long curve: a chart is some 400 CSS pixels wide, and screens have two for each
_BUFFER = 4096  # values added by numpy at once, ten times as fast as one by one


class Series:
    """Values of one figure by step, in up to 960 bins of equal width.

    A step beyond the last bin merges bins in pairs, so that memory depends neither on the number of rows nor on the
    length of the run. As long as every bin holds one value, the curve is exact.
    """

    def __init__(self) -> None:
        self._width = 1
        self._waiting: list[tuple[int, float]] = []
        self._count = np.zeros(2 * COLUMNS, np.int64)
        self._steps, self._total = np.zeros(2 * COLUMNS), np.zeros(2 * COLUMNS)
        self._low, self._high = np.full(2 * COLUMNS, np.inf), np.full(2 * COLUMNS, -np.inf)

    def add(self, step: int, value: float) -> None:
        """Add the value of a step, 0 or more, in any order."""
        self._waiting.append((step, value))
        if len(self._waiting) >= _BUFFER:
            self._fold()

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Steps, means, least and greatest values of the N ≤ 960 bins that are not empty: four arrays."""
        self._fold()
        filled = self._count > 0
        count = self._count[filled]
        return self._steps[filled] / count, self._total[filled] / count, self._low[filled], self._high[filled]

    def __bool__(self) -> bool:
        return bool(self._waiting) or bool(self._count.any())

    def _fold(self) -> None:
        if not self._waiting:
            return
        steps, values = (np.array(column, np.float64) for column in zip(*self._waiting, strict=True))
        self._waiting.clear()
        while steps.max() >= self._width * 2 * COLUMNS:
            self._halve()
        bins = (steps // self._width).astype(np.int64)
        np.add.at(self._count, bins, 1)
        np.add.at(self._steps, bins, steps)
        np.add.at(self._total, bins, values)
        np.minimum.at(self._low, bins, values)
        np.maximum.at(self._high, bins, values)

    def _halve(self) -> None:
        """Merge bins in pairs, which frees the upper half."""
        self._width *= 2
        for values, join, empty in (
            (self._count, np.add, 0),
            (self._steps, np.add, 0),
            (self._total, np.add, 0),
            (self._low, np.minimum, np.inf),
            (self._high, np.maximum, -np.inf),
        ):
            values[:COLUMNS] = join(values[0::2], values[1::2])
            values[COLUMNS:] = empty


def evenly(items: Sequence[int], most: int) -> list[int]:
    """Up to `most` of sorted numbers: the first, the last, and others evenly between."""
    places = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[place] for place in places.round().astype(int)]
