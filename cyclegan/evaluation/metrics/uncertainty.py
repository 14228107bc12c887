"""Intervals of 95 % of figures: by resampling pictures, by formula, and by the spread over halves.

All treat pictures as a random sample, and the generators and the features as given. Draws come from a seed and leave
the global random state alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cyclegan.figures import Z, variance_about_line

RESAMPLES = 1000
HALVES = 100
_NUMBERS = 2**22  # values of resamples that are held at a time

Interval = tuple[float, float]


def bootstrap(summary: Callable[[Tensor], Mapping[str, Any]], values: Tensor, *, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals of the figures in `summary(values)` over 1000 resamples of the pictures.

    `values` has pictures in its first dimension; `summary` is given R × N × … resamples as well, and returns R values
    of each figure. Empty for fewer than two pictures.
    """
    count = len(values)
    if count < 2:
        return {}
    draws = torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(seed))
    parts = [summary(values[rows]) for rows in draws.split(max(1, _NUMBERS // values.numel()))]
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    found = {name: torch.cat([torch.as_tensor(part[name]) for part in parts]).double() for name in parts[0]}
    return {name: (low, high) for name, of in found.items() for low, high in [of.nanquantile(ends).tolist()]}


def around(value: float, error: float, floor: float = -math.inf) -> Interval:
    """Interval of a figure with this standard error, cut off at the least value that it can have."""
    return max(floor, value - Z * error), value + Z * error


def spread_over_halves(statistic: Callable[..., float], *sets: Tensor, seed: int = 0, halves: int = HALVES) -> float:
    """Standard deviation of `statistic` over random halves of each of `sets`; NaN if a half has fewer than two.

    Half a set, drawn without repetition, varies around the whole as much as the whole around the truth, for a mean
    exactly. Resampling would not do for distances, which count repeated pictures as real agreement.
    """
    if min(map(len, sets)) < 4:
        return math.nan
    generator = torch.Generator().manual_seed(seed)
    return deviation([statistic(*(drawn(one, len(one) // 2, generator) for one in sets)) for _ in range(halves)])


def spread_about_line(values: Sequence[float]) -> float | None:
    """Residual standard deviation of equidistant values about their straight line; None for fewer than three.

    A steady rise or fall adds nothing to it, so what is left is the noise from one value to the next.
    """
    variance = variance_about_line(list(enumerate(values)))
    return None if variance is None else math.sqrt(variance)


def drawn(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the rows of `values`, without repetition."""
    return values[torch.randperm(len(values), generator=generator)[:count]]


def deviation(values: list[float]) -> float:
    """(Population) standard deviation."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
