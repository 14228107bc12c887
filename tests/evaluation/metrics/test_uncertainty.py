"""Intervals hold the truth about as often as they say, on samples of which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cyclegan.evaluation.metrics import uncertainty
from cyclegan.evaluation.metrics.cycle import cycle_figures
from cyclegan.evaluation.metrics.fid_kid import FeatureMoments, frechet, mmd2
from cyclegan.evaluation.metrics.output_statistics import diversity
from cyclegan.evaluation.metrics.uncertainty import around, bootstrap, spread_about_line, spread_over_halves
from cyclegan.figures import wilson

SAMPLES, PICTURES = 200, 80


def drawn(seed: int, *shape: int) -> Tensor:
    """Values with a long tail, of mean 1 and median log 2."""
    draws = torch.Generator().manual_seed(seed)
    return torch.empty(*shape, dtype=torch.float64).exponential_(generator=draws)


def mean(values: Tensor) -> dict[str, Tensor]:
    return {"of": values.mean(dim=-1)}


def median(values: Tensor) -> dict[str, Tensor]:
    return {"of": values.median(dim=-1).values}


@pytest.mark.parametrize(("statistic", "truth"), [(mean, 1.0), (median, math.log(2))])
def test_of_two_hundred_samples_nineteen_in_twenty_intervals_hold_the_truth(
    statistic: Callable[[Tensor], dict[str, Tensor]], truth: float
) -> None:
    ends = [bootstrap(statistic, drawn(seed, PICTURES), seed=seed)["of"] for seed in range(SAMPLES)]
    assert 0.89 <= sum(low <= truth <= high for low, high in ends) / SAMPLES <= 0.99


def test_a_ratio_is_resampled_by_picture() -> None:
    # The two errors of a picture go together, so that their ratio is surer than either of them
    def errors(seed: int) -> Tensor:
        l1 = drawn(seed, PICTURES)
        return torch.stack([l1, l1 * (1 + drawn(seed + SAMPLES, PICTURES) / 2), l1 * 0 + math.nan], dim=1)

    found = [bootstrap(cycle_figures, errors(seed), seed=seed) for seed in range(SAMPLES)]
    held = sum(low <= 1.5 <= high for low, high in (intervals["cycle_noise_ratio"] for intervals in found))
    assert 0.88 <= held / SAMPLES <= 0.99
    widths = {name: sum(high - low for low, high in (one[name] for one in found)) for name in found[0]}
    assert widths["cycle_noise_ratio"] < 0.8 * widths["cycle_noise_l1"]
    assert all(map(math.isnan, found[0]["cycle_ssim"]))


@pytest.mark.parametrize("truth", [0.03, 0.5])
def test_the_interval_of_a_share_holds_it_and_none_of_many_is_not_certain(truth: float) -> None:
    shares = [
        float((torch.rand(PICTURES, generator=torch.Generator().manual_seed(s)) < truth).double().mean())
        for s in range(SAMPLES)
    ]
    ends = [wilson(share, PICTURES) for share in shares]
    assert 0.89 <= sum(low <= truth <= high for low, high in ends) / SAMPLES <= 0.99
    assert wilson(0.0, 120) == (0.0, pytest.approx(0.031, abs=1e-3))


def fid(x: Tensor, y: Tensor) -> float:
    return frechet(FeatureMoments.of(x), FeatureMoments.of(y))


@pytest.mark.slow
@pytest.mark.parametrize(("distance", "sets"), [(fid, 2), (mmd2, 2), (diversity, 1)])
def test_the_spread_over_halves_covers_what_other_samples_would_have_given(
    distance: Callable[..., float], sets: int
) -> None:
    values, errors = [], []
    for seed in range(60):
        draws = torch.Generator().manual_seed(seed)
        samples = [torch.randn(60, 80, generator=draws, dtype=torch.float64) + 0.3 * place for place in range(sets)]
        values.append(distance(*samples))
        errors.append(spread_over_halves(distance, *samples, seed=seed, halves=40))
    expected = sum(values) / len(values)
    ends = [around(value, error) for value, error in zip(values, errors, strict=True)]
    assert sum(low <= expected <= high for low, high in ends) / len(ends) >= 0.88
    # Neither far too wide: FID, whose bias depends on the number, varies more between halves
    assert sum(errors) / len(errors) < 2 * float(torch.tensor(values).std())


def test_a_distance_has_no_interval_where_a_half_would_be_one_picture() -> None:
    assert math.isnan(spread_over_halves(fid, torch.rand(3, 2), torch.rand(9, 2)))
    assert around(0.1, 1.0, floor=0) == (0, pytest.approx(2.06))


def test_draws_are_seeded_whatever_is_held_at_a_time_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    values = drawn(0, 30)
    before = torch.random.get_rng_state()
    found = bootstrap(mean, values, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert bootstrap(mean, values, seed=4) != found
    monkeypatch.setattr(uncertainty, "_NUMBERS", 100)
    assert bootstrap(mean, values, seed=3)["of"] == pytest.approx(found["of"], rel=1e-12)
    assert bootstrap(mean, values[:1]) == {}


def test_the_spread_about_a_line_is_noise_and_no_trend() -> None:
    assert spread_about_line([1.0, 3.0]) is None
    assert spread_about_line([5.0, 4.0, 3.0, 2.0]) == pytest.approx(0, abs=1e-12)
    # About the line 1.4 - 0.6 x the residuals are 0.4, -1, 0.6, 0.2, -0.2
    assert spread_about_line([3.0, 1.0, 2.0, 1.0, 0.0]) == pytest.approx(math.sqrt(1.6 / 3))
