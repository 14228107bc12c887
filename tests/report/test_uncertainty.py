"""Student's t, Welch's test and Holm's correction beside values of tables and by hand."""

from __future__ import annotations

import math

import pytest

from cyclegan.report.uncertainty import Estimate, Variance, about_line, holm, of_mean, quantile, tail, variance


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (100, 1.9840), (1000, 1.9623), (math.inf, 1.9600)],
)
def test_quantiles_are_those_of_the_tables(freedom: float, value: float) -> None:
    assert quantile(freedom) == pytest.approx(value, abs=1e-4)
    assert tail(value, freedom) == pytest.approx(0.05, abs=1e-5)
    assert tail(-value, freedom) == tail(value, freedom)


def test_with_one_degree_of_freedom_it_is_the_distribution_of_cauchy() -> None:
    assert tail(1, 1) == pytest.approx(0.5)
    assert quantile(1, 0.99) == pytest.approx(63.6567, abs=1e-3)


def test_few_and_many_degrees_of_freedom_go_over_into_each_other() -> None:
    assert quantile(1999.9) == pytest.approx(quantile(2000.1), abs=1e-5)
    assert tail(5, 1999.9) == pytest.approx(tail(5, 2000.1), rel=1e-3)


def test_means_are_compared_by_the_test_of_welch() -> None:
    """Variances 1 / 3 and 4 / 3, t = 2 / √(5 / 3), freedom (5 / 3)² / (1 / 18 + 16 / 18)."""
    first, second = of_mean([1.0, 2.0, 3.0]), of_mean([2.0, 4.0, 6.0])
    assert (first.value, second.value) == (2, 4)
    assert first.reach == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)
    both = Estimate(0, (*first.parts, *second.parts))
    assert both.freedom == pytest.approx(50 / 17)
    assert first.chance(second) == second.chance(first) == pytest.approx(tail(2 / math.sqrt(5 / 3), 50 / 17))


def test_values_that_are_close_together_by_luck_are_not_taken_for_certain() -> None:
    assert of_mean([1.0, 1.0], least=0.5).variance == 0.25
    assert of_mean([1.0, 3.0], least=0.5).variance == 1
    assert of_mean([1.0]).parts == ()
    assert math.isnan(of_mean([1.0]).reach)


def test_equal_figures_without_any_variance_do_not_differ() -> None:
    one, other = of_mean([1.0, 1.0]), of_mean([1.0, 1.0])
    assert one.chance(other) == 1
    assert one.chance(of_mean([0.9, 0.9])) == 0


def test_a_part_that_is_known_exactly_adds_freedom() -> None:
    parts = (Variance(1.0, 3), Variance(3.0))
    assert Estimate(0, parts).variance == 4
    assert Estimate(0, parts).freedom == 48


def test_a_trend_is_no_spread() -> None:
    assert about_line([(0, 1.0), (10, 2.0), (20, 3.0)]) == pytest.approx((0, 1))
    spread = about_line([(0, 1.0), (1, -1.0), (2, -1.0), (3, 1.0)])
    assert spread == pytest.approx((2, 2))
    assert about_line([(0, 1.0), (1, 5.0)]) is None
    assert variance([1.0, 3.0]) == 2


def test_the_smallest_probability_counts_as_often_as_there_are_figures() -> None:
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
