"""Uncertainty of a figure, and the probability that two figures differ by chance.

An estimate has parts of variance, each with its degrees of freedom. Sums of them follow Student's t with the degrees of
Welch and Satterthwaite. Student's t is integrated here, so that no package of statistics is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cyclegan.figures import variance_about_line

LEVEL = 0.95  # of all intervals
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)
_MANY = 2000  # degrees of freedom from which a transformed normal distribution is right to four digits


class Variance(NamedTuple):
    """An independent part of the variance of an estimate, with its degrees of freedom."""

    value: float
    freedom: float = math.inf


@dataclass(frozen=True)
class Estimate:
    """A figure with the parts of its variance; without any part nothing is known of its uncertainty."""

    value: float
    parts: tuple[Variance, ...]

    @property
    def variance(self) -> float:
        return sum(part.value for part in self.parts)

    @property
    def freedom(self) -> float:
        shares = sum(part.value**2 / part.freedom for part in self.parts)
        return self.variance**2 / shares if shares > 0 else math.inf

    @property
    def reach(self) -> float:
        """Half of the 95 % interval; NaN where nothing is known of the uncertainty."""
        return quantile(self.freedom) * math.sqrt(self.variance) if self.parts else math.nan

    def chance(self, other: Estimate) -> float:
        """Probability of at least this difference from `other` if both estimate the same; Welch's t-test for means."""
        both = Estimate(self.value - other.value, (*self.parts, *other.parts))
        if not both.value:
            return 1.0
        return tail(both.value / math.sqrt(both.variance), both.freedom) if both.variance > 0 else 0.0


def of_mean(values: Sequence[float], least: float = 0.0) -> Estimate:
    """Mean of values that each stand for one seed; of two or more, with its variance.

    `least` is a lower bound of the variance of one value. Few values may lie close together by luck.
    """
    count, mean = len(values), math.fsum(values) / len(values)
    return Estimate(mean, (Variance(max(variance(values), least) / count, count - 1),) if count > 1 else ())


def variance(values: Sequence[float]) -> float:
    """Unbiased variance of two or more values."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def about_line(points: Sequence[tuple[float, float]]) -> Variance | None:
    """Variance of points about their straight line; None for fewer than three, which always lie on one."""
    variance = variance_about_line(points)
    return None if variance is None else Variance(variance, len(points) - 2)


def tail(t: float, freedom: float) -> float:
    """Probability that Student's t with these degrees of freedom, 1 or more, is at least as far from 0 as `t`."""
    if freedom > _MANY:  # Abramowitz and Stegun 26.7.8
        return math.erfc(abs(t) * (1 - 0.25 / freedom) / math.sqrt(1 + t**2 / (2 * freedom)) / math.sqrt(2))
    # By t = tan(angle) √freedom the density becomes a power of the cosine
    return _cosines(math.atan(abs(t) / math.sqrt(freedom)), freedom) / _cosines(0.0, freedom)


@lru_cache
def quantile(freedom: float, level: float = LEVEL) -> float:
    """Half of the width of the interval about 0 that holds Student's t with probability `level`."""
    low, high = 0.0, 1.0
    while tail(high, freedom) > 1 - level:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > 1 - level else (low, middle)
    return high


def holm(chances: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number by Holm's method.

    If none of the differences is real, one of the results is below 0.05 in at most 5 of 100 cases.
    """
    corrected, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = least
    return corrected


def _cosines(start: float, freedom: float) -> float:
    """Integral of cos(angle)^(freedom - 1) from `start` to a right angle, by Gauss and Legendre."""
    half = (math.pi / 2 - start) / 2
    return float(half * (_WEIGHTS @ np.cos(start + half * (1 + _NODES)) ** (freedom - 1)))
