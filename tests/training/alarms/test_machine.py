"""Alarms about numbers and time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cyclegan.errors import CycleganError
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.training import train
from cyclegan.training.alarms import machine
from cyclegan.training.loop_io import device_loader, metrics
from cyclegan.training.update import state
from tests.support.run_files import read_metrics


def alarms_of(run) -> dict[str, int]:
    rows = read_metrics(run)
    return {name.removeprefix("alarm/"): row["step"] for row in rows for name in row if name.startswith("alarm/")}


def skipping(*totals: int) -> list[dict[str, float]]:
    return [{"health/skipped_steps": total} for total in totals]


@pytest.mark.parametrize(
    ("totals", "precision", "expected"),
    [
        ([0, 1, 1, 1, 1, 1, 1, 2], "fp32", False),  # one now and then
        ([0, 0, 3], "fp32", True),
        ([0, 1, 2, 3], "bf16", True),
        ([4, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7], "fp16", False),  # the loss scale is being found
        ([4, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 10], "fp16", True),
    ],
)
def test_skipped_steps_are_an_alarm_where_they_are_no_accident(watched, totals, precision, expected):
    run = watched(precision=precision)
    run.begin()
    assert run.rows(skipping(*totals)) == (["not-finite"] if expected else [])


@pytest.mark.slow
def test_weights_that_are_not_finite_are_reported_before_the_run_ends(tmp_path, tiny, monkeypatch):
    calls = iter(range(10_000))
    generate = CycleGAN.generator_turns

    def spoilt(self, batch):
        if next(calls) == 3:
            next(self.generators["ab"].parameters()).data.fill_(float("nan"))
        return generate(self, batch)

    monkeypatch.setattr(CycleGAN, "generator_turns", spoilt)
    with pytest.raises(CycleganError, match="10 steps in a row"):
        train(tiny(steps=30), tmp_path / "run")
    assert alarms_of(tmp_path / "run") == {"not-finite": 6}


@pytest.mark.slow
def test_a_stop_by_the_guard_is_an_alarm_even_where_no_row_came_before_it(tmp_path, tiny, monkeypatch):
    losses = CycleGAN._generator_losses
    monkeypatch.setattr(
        CycleGAN,
        "_generator_losses",
        lambda self, *turn: {name: loss * torch.nan for name, loss in losses(self, *turn).items()},
    )
    with pytest.raises(CycleganError, match="12 steps in a row"):
        train(tiny(steps=30, log_every=30, state_every=12), tmp_path / "run")
    assert alarms_of(tmp_path / "run") == {"not-finite": 12}


@pytest.mark.slow
@pytest.mark.parametrize(("reading", "expected"), [(9.0, {"waiting-for-data": 4}), (0.1, {})])
def test_a_slow_loader_is_reported_once(tmp_path, tiny, monkeypatch, reading, expected):
    """By a clock of the test's own: a batch takes `reading` seconds, a step one."""
    now = [0.0]

    def clock() -> float:
        return now[0]

    def slow(*arguments: Any, **more: Any) -> Iterator[Any]:
        for item in build(*arguments, **more):
            now[0] += reading
            yield item
            now[0] += 0.0

    def played(*arguments: Any) -> Any:
        now[0] += 1.0
        return play(*arguments)

    build, play = device_loader.build_loader, state.train_step
    monkeypatch.setattr(device_loader, "build_loader", slow)
    monkeypatch.setattr(state, "train_step", played)
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(device_loader, "time", SimpleNamespace(perf_counter=clock))
    assert alarms_of(train(tiny(steps=8), tmp_path / "run")) == expected
    assert machine.WAITING_SECONDS == 30.0


def test_starting_slowly_is_not_waiting(watched):
    run = watched()
    run.begin()
    first = [{"speed/data_wait": 0.95, "speed/images_per_second": 1.0}]  # 20 s
    rest = [{"speed/data_wait": 0.02, "speed/images_per_second": 4.0}] * 60  # 5 s each
    assert run.rows(first + rest) == []
