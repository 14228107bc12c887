"""One step of the game."""

from __future__ import annotations

import pytest
import torch

from cyclegan.config import TrainConfig
from cyclegan.methods import build_method
from cyclegan.training.optimizers import build_optimizer
from cyclegan.training.precision import Precision
from cyclegan.training.step import Outcome, Side, play

CPU = torch.device("cpu")


class Table:
    """A method and its two sides, built from one seed."""

    def __init__(self, dtype: torch.dtype = torch.float32, clip: float = 0.0, **options: object) -> None:
        torch.manual_seed(0)
        options = {"pool_size": 0} | options
        self.method = build_method(TrainConfig(generator="resnet_6blocks", channels=2, options=options))
        self.sides = [
            Side(list(players.parameters()), build_optimizer(players.parameters(), lr=1e-3, betas=(0.5, 0.999)), clip)
            for players in (self.method.generators, self.method.discriminators)
        ]
        self.precision = Precision(CPU, dtype)

    def play(self, batch: dict[str, torch.Tensor], parts: int = 1) -> Outcome:
        pieces = [{name: value.chunk(parts)[i] for name, value in batch.items()} for i in range(parts)]
        return play(self.method, self.sides[0], self.sides[1], pieces, self.precision)

    def weights(self) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.method.parameters()])


def pictures(count: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1 for name in "ab"}


def test_both_sides_move_and_every_figure_is_named():
    table = Table()
    before = [[p.clone() for p in side.parameters] for side in table.sides]
    outcome = table.play(pictures())
    for side, old in zip(table.sides, before, strict=True):
        moved = sum(not torch.equal(p, o) for p, o in zip(side.parameters, old, strict=True))
        assert moved > len(old) / 2
    losses = {
        f"loss/{kind}_{domain}" for kind in ("adversarial", "cycle", "identity", "discriminator") for domain in "ab"
    }
    assert set(outcome.figures) == losses | {"gradient_norm/generators", "gradient_norm/discriminators"}
    assert not outcome.skipped


def test_the_generators_move_before_the_discriminators_and_without_gradients_of_their_weights(monkeypatch):
    table = Table()
    order = []
    for name, side in zip(("generators", "discriminators"), table.sides, strict=True):
        step = side.optimizer.step

        def noted(*args: object, name: str = name, step=step) -> None:
            order.append(name)
            if name == "generators":
                assert all(p.grad is None for p in table.method.discriminators.parameters())
            step(*args)

        monkeypatch.setattr(side.optimizer, "step", noted)
    table.play(pictures())
    assert order == ["generators", "discriminators"]


def test_a_batch_in_parts_is_the_same_step():
    whole, split = Table(), Table()
    batch = pictures(4)
    first, second = whole.play(batch), split.play(batch, parts=2)
    for name, value in first.figures.items():
        assert second.figures[name].item() == pytest.approx(value.item(), rel=1e-4), name
    # Adam turns tiny differences of tiny gradients into steps that differ: compare the mean
    assert (whole.weights() - split.weights()).abs().mean() < 2e-5


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_skipped_and_leaves_everything_as_it_was(poison):
    table = Table()
    table.play(pictures())
    before = table.weights()
    moments = [value.clone() for value in table.sides[0].optimizer.state[table.sides[0].parameters[0]].values()]
    bad = pictures()
    bad["a"][0, 0, 0, 0] = poison
    outcome = table.play(bad)
    assert outcome.skipped
    assert torch.equal(table.weights(), before)
    after = table.sides[0].optimizer.state[table.sides[0].parameters[0]].values()
    assert all(torch.equal(old, new) for old, new in zip(moments, after, strict=True))
    assert not table.play(pictures()).skipped
    assert not torch.equal(table.weights(), before)


def test_clipping_bounds_the_gradient_that_adam_sees(monkeypatch):
    table = Table(clip=0.01)
    seen = []
    step = table.sides[0].optimizer.step

    def noted() -> None:
        seen.append(torch.nn.utils.get_total_norm([p.grad for p in table.sides[0].parameters]).item())
        step()

    monkeypatch.setattr(table.sides[0].optimizer, "step", noted)
    outcome = table.play(pictures())
    assert outcome.figures["gradient_norm/generators"] > 0.1
    assert seen[0] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("adversarial", ["lsgan", "bce", "hinge", "wgan-gp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_adversarial_loss_plays_by_the_one_step_in_every_precision(adversarial, dtype):
    table = Table(dtype, adversarial=adversarial, r1=0.1)
    outcome = table.play(pictures(2))
    assert not outcome.skipped
    assert all(parameter.dtype == torch.float32 for parameter in table.method.parameters())
    with table.precision.autocast():
        scores = table.method.scores(outcome.batch, outcome.images)
    assert all(torch.isfinite(score) for score in scores.values())
