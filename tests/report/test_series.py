"""Curves in bounded memory: exact while they are short, an envelope when they are long."""

from __future__ import annotations

import numpy as np
import pytest

from cyclegan.report.series import COLUMNS, Series, evenly


def filled(steps: np.ndarray, values: np.ndarray) -> Series:
    series = Series()
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        series.add(step, value)
    return series


def test_a_short_curve_is_kept_as_it_is() -> None:
    steps = np.arange(20, 20 * 301, 20)
    values = np.sin(steps / 100)
    found = filled(steps, values).points()
    for column, wanted in zip(found, (steps, values, values, values), strict=True):
        assert column == pytest.approx(wanted)


@pytest.mark.parametrize("count", [2 * COLUMNS, 2 * COLUMNS + 1, 50_000])
def test_a_long_curve_has_the_least_the_greatest_and_the_mean_of_each_column(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    values[count // 3] = 100.0
    steps, mean, low, high = filled(np.arange(count), values).points()
    assert COLUMNS <= len(steps) <= 2 * COLUMNS
    width = 1
    while width * 2 * COLUMNS < count:
        width *= 2
    parts = [values[start : start + width] for start in range(0, count, width)]
    assert mean == pytest.approx([part.mean() for part in parts])
    assert low == pytest.approx([part.min() for part in parts])
    assert high == pytest.approx([part.max() for part in parts])
    assert high.max() == 100.0
    assert np.all(np.diff(steps) > 0)


def test_the_order_in_which_values_come_makes_no_difference() -> None:
    steps = np.random.default_rng(0).permutation(10_000)
    one, other = (filled(order, order * 0.5).points() for order in (steps, np.sort(steps)))
    for found, wanted in zip(one, other, strict=True):
        assert found == pytest.approx(wanted)


def test_what_is_kept_does_not_grow_with_the_rows() -> None:
    series = Series()
    for step in range(200_000):
        series.add(step, 1.0)
        assert len(series._waiting) <= 4096
    assert len(series.points()[0]) <= 2 * COLUMNS


def test_a_step_as_large_as_there_is_takes_no_room() -> None:
    series = Series()
    series.add(0, 1.0)
    series.add(2**53 - 1, 2.0)
    assert series.points()[1] == pytest.approx([1, 2])


def test_none_is_nothing() -> None:
    assert not Series()
    assert len(Series().points()[0]) == 0


def test_some_of_many_are_the_first_the_last_and_those_evenly_between() -> None:
    assert evenly(range(5), 40) == [0, 1, 2, 3, 4]
    some = evenly(range(0, 10_001, 10), 41)
    assert some == list(range(0, 10_001, 250))
    assert len(set(evenly(range(57), 40))) == 40
