"""Alarms about the balance of the game: planted sequences of figures, and players with a fault in the real loop."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch

from cyclegan.losses import ADVERSARIAL_LOSSES
from cyclegan.methods.cyclegan import CycleGAN
from cyclegan.networks.patchgan import PatchDiscriminator
from cyclegan.training import train
from cyclegan.training.alarms import discriminator as game
from tests.support.run_files import read_metrics

SCALES = {"lsgan": (0.5, 0.5), "bce": (0.5, 0.5), "hinge": (0.0, 1.0)}  # the balance, and how far a certain verdict is


def verdicts(loss: str, real: float, fake: float, *, scatter: float = 0.12, count: int = 60, seed: int = 0):
    """Rows of both domains. Verdicts are given between -1 (fake), 0 (the balance) and 1 (real)."""
    middle, span = SCALES[loss]
    draw = random.Random(seed)
    return [
        {
            f"scores/{domain}/{kind}": middle + span * (level + draw.gauss(0, scatter))
            for domain in "ab"
            for kind, level in (("real", real), ("fake", fake))
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("loss", SCALES)
def test_a_discriminator_that_is_certain_for_long_is_too_strong(watched, loss):
    run = watched(options={"adversarial": loss})
    assert run.begin() == []
    assert run.rows(verdicts(loss, 0.95, -0.95)) == ["discriminator-too-strong"]
    step, _, text, figure = run.recorder.alarms[0]
    assert game.FIRST_STEPS + game.WINDOW_STEPS <= step <= game.FIRST_STEPS + game.WINDOW_STEPS + 60
    assert figure == pytest.approx(0.95, abs=0.05)
    assert f"where {SCALES[loss][0]:g} is the balance" in text


@pytest.mark.parametrize("loss", SCALES)
def test_winning_early_is_not_being_too_strong(watched, loss):
    run = watched(options={"adversarial": loss})
    run.begin()
    rows = verdicts(loss, 0.95, -0.95, count=15) + verdicts(loss, 0.3, -0.2, count=60)
    assert run.rows(rows) == []


@pytest.mark.parametrize("loss", SCALES)
def test_a_discriminator_that_never_tells_them_apart_is_blind(watched, loss):
    run = watched(options={"adversarial": loss})
    run.begin()
    assert run.rows(verdicts(loss, 0.0, 0.0, scatter=0.01)) == ["discriminator-blind"]


@pytest.mark.parametrize("loss", SCALES)
def test_the_equilibrium_after_learning_is_not_blindness(watched, loss):
    run = watched(options={"adversarial": loss})
    run.begin()
    assert run.rows(verdicts(loss, 0.4, -0.3, count=60) + verdicts(loss, 0.0, 0.0, count=200)) == []


def test_one_that_dies_later_is_blind_once_it_says_the_same_to_every_patch(watched):
    run = watched()
    run.begin()
    assert run.rows(verdicts("lsgan", 0.4, -0.3)) == []
    for discriminator in run.method.discriminators.values():
        for weight in discriminator.parameters():
            weight.data.zero_()
    run.alarms.probe(1200, run.method.generators, run.precision)
    assert run.rows(verdicts("lsgan", 0.0, 0.0, scatter=0.001), since=1200) == ["discriminator-blind"]


@pytest.mark.parametrize("seed", range(10))
def test_verdicts_as_healthy_runs_have_them_raise_nothing(watched, seed):
    """Means and scatter are those of the demo and of horse2zebra at 64 pixels, one picture a batch."""
    run = watched()
    run.begin()
    rows = [
        verdict | losses
        for verdict, losses in zip(
            verdicts("lsgan", 0.35, -0.2, scatter=0.3, count=150, seed=seed), healthy_losses(seed), strict=True
        )
    ]
    assert run.rows(rows) == []


def healthy_losses(seed: int, count: int = 150) -> Iterator[dict[str, float]]:
    draw = random.Random(seed)
    for number in range(count):
        falling = 1 + 2 * math.exp(-number / 15)
        yield {
            "loss/cycle_a": falling * abs(draw.gauss(1.4, 0.3)),
            "loss/adversarial_a": abs(draw.gauss(0.35, 0.1)),
            "loss/identity_a": falling * abs(draw.gauss(0.6, 0.15)),
            "loss/discriminator_a": abs(draw.gauss(0.2, 0.1)),
        }


def test_verdicts_without_a_balance_are_not_judged(watched):
    assert ADVERSARIAL_LOSSES["wgan-gp"].equilibrium is None
    run = watched(options={"adversarial": "wgan-gp"})
    run.begin()
    rows = [
        row | {"loss/adversarial_a": 500.0 * (number > 40)} for number, row in enumerate(verdicts("hinge", 90.0, -90.0))
    ]
    assert run.rows(rows) == []
    run.alarms.probe(300, run.method.generators, run.precision)
    assert not [name for name in run.recorder.rows[0][1] if "accuracy" in name]


def test_a_loss_far_beyond_its_history_has_run_away(watched):
    run = watched()
    run.begin()
    rising = [{"loss/adversarial_a": 0.35 * 1.3 ** max(0, number - 40)} for number in range(60)]
    assert run.rows(rising) == ["generator-running-away"]
    assert "The curve loss/adversarial_a has run away" in run.recorder.alarms[0][2]


def test_a_discriminators_loss_that_grows_is_not_a_generators(watched):
    run = watched()
    run.begin()
    assert run.rows([{"loss/discriminator_a": 0.2 * 1.3 ** max(0, number - 40)} for number in range(60)]) == []


def test_a_history_of_any_length_takes_little_room(watched):
    run = watched()
    run.begin()
    run.rows([{"loss/cycle_a": 1.0 + 0.001 * number} for number in range(5000)])
    history = run.alarms.alarms["generator-running-away"].history["loss/cycle_a"]
    assert 150 < len(history) <= game.HISTORY
    assert history[0] < 1.1 < 5.5 < history[-1]  # it still reaches from the start to now, evenly
    assert sorted(history)[len(history) // 2] == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize(
    "changed", [{"stride": 0}, {"recent": {}}, {"rows": []}, {"history": {"loss/cycle_a": [[]]}}, {"stride": "x"}]
)
def test_a_memory_of_losses_that_is_none_is_refused(watched, changed):
    run = watched()
    run.begin()
    run.rows([{"loss/cycle_a": 1.0 + 0.001 * number} for number in range(100)])
    alarm = run.alarms.alarms["generator-running-away"]
    state = alarm.state_dict()
    alarm.load_state_dict(state)
    assert alarm.state_dict() == state
    with pytest.raises((ValueError, TypeError)):
        alarm.load_state_dict(state | changed)


# In the real loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules over fewer steps."""
    for name, value in {"FIRST_STEPS": 0, "WINDOW_STEPS": 4, "ROWS": 3, "RECENT": 3, "ENOUGH": 6}.items():
        monkeypatch.setattr(game, name, value)


def alarms_of(run) -> list[str]:
    rows = read_metrics(run)
    return [name.removeprefix("alarm/") for row in rows for name in row if name.startswith("alarm/")]


@pytest.mark.slow
def test_a_discriminator_that_knows_every_fake_is_reported_by_the_loop(tmp_path, tiny, impatient, monkeypatch):
    def certain(self, x):
        # The pictures of these tests are noise, and what an untrained generator makes of them is nearly grey
        return (x.flatten(1).std(dim=1) > 0.3).float().view(-1, 1, 1, 1) + 0 * self.stem(x).mean()

    monkeypatch.setattr(PatchDiscriminator, "forward", certain)
    assert alarms_of(train(tiny(steps=8, lr_generator=0.0), tmp_path / "run")) == ["discriminator-too-strong"]


@pytest.mark.slow
def test_a_constant_discriminator_is_reported_by_the_loop(tmp_path, tiny, impatient, monkeypatch):
    monkeypatch.setattr(PatchDiscriminator, "forward", lambda self, x: 0.5 + 0 * self.stem(x).mean((1, 2, 3), True))
    assert alarms_of(train(tiny(steps=8), tmp_path / "run")) == ["discriminator-blind"]


@pytest.mark.slow
def test_rising_losses_are_reported_by_the_loop(tmp_path, tiny, impatient, monkeypatch):
    calls = iter(range(10_000))
    losses = CycleGAN._generator_losses

    def rising(self, *turn):
        found = losses(self, *turn)
        return {name: loss * 1.5 ** max(0, next(calls) / 6 - 12) for name, loss in found.items()}

    monkeypatch.setattr(CycleGAN, "_generator_losses", rising)
    assert "generator-running-away" in alarms_of(train(tiny(steps=25), tmp_path / "run"))


def test_what_the_probe_says_of_verdicts_is_right(watched, monkeypatch):
    """Half of the patches say 1 and half 0, whatever they see: right half of the time."""
    run = watched()
    run.begin()

    def half(self, x):
        return torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(len(x), 1, 4, 2)

    monkeypatch.setattr(PatchDiscriminator, "forward", half)
    run.alarms.probe(300, run.method.generators, run.precision)
    figures = run.recorder.rows[0][1]
    assert figures["probe/accuracy_a"] == 0.5
    assert figures["probe/verdict_real_a"] == figures["probe/verdict_fake_b"] == 0.5
    assert figures["probe/verdict_spread_a"] == pytest.approx(0.5, abs=0.01)
