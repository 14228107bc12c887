"""Curves of any length in bounded memory: for each column of a chart the least, the greatest and the mean."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

COLUMNS = 480  # at least so many of a long curve: a chart is some 400 pixels wide, and screens have two for each
_BUFFER = 4096  # values that wait to be folded in by numpy, which is ten times as quick as one by one


class Series:
    """One figure over the steps.

    Up to 960 bins of equally many steps. Where a value comes that lies beyond them, each two become one and are twice
    as wide, so that what is kept depends neither on the number of rows nor on when a run ends. As long as every bin
    holds one value, the curve is exact.
    """

    def __init__(self) -> None:
        self._width = 1
        self._waiting: list[tuple[int, float]] = []
        self._count = np.zeros(2 * COLUMNS, np.int64)
        self._steps, self._total = np.zeros(2 * COLUMNS), np.zeros(2 * COLUMNS)
        self._low, self._high = np.full(2 * COLUMNS, np.inf), np.full(2 * COLUMNS, -np.inf)

    def add(self, step: int, value: float) -> None:
        """A value, in any order of the steps, which are 0 or more."""
        self._waiting.append((step, value))
        if len(self._waiting) >= _BUFFER:
            self._fold()

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Steps, means, least and greatest values: four arrays of N ≤ 960 bins that are not empty."""
        self._fold()
        there = self._count > 0
        count = self._count[there]
        return self._steps[there] / count, self._total[there] / count, self._low[there], self._high[there]

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
        """Each two bins become one; the upper half is free again."""
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


def evenly(items: Iterable[int], most: int) -> list[int]:
    """Up to `most` of some sorted numbers, the first and the last among them and the others evenly between."""
    there = list(items)
    if len(there) <= most:
        return there
    return [there[place] for place in np.linspace(0, len(there) - 1, most).round().astype(int)]
