"""One step of the game."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cyclegan.config import TrainConfig
from cyclegan.methods import build_method
from cyclegan.training.update.optimizers import build_optimizer
from cyclegan.training.update.precision import Precision
from cyclegan.training.update.step import Side, StepResult, train_step

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

    def play(self, batch: dict[str, torch.Tensor], parts: int = 1) -> StepResult:
        pieces = [{name: value.chunk(parts)[i] for name, value in batch.items()} for i in range(parts)]
        return train_step(self.method, self.sides[0], self.sides[1], pieces, self.precision)

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


def test_the_generators_game_gives_discriminators_no_gradients_and_each_side_moves_by_its_own(monkeypatch):
    table = Table()
    order = []
    for name, side in zip(("generators", "discriminators"), table.sides, strict=True):

        def noted(*args: object, name: str = name, step=side.optimizer.step) -> None:
            order.append(f"{name} move")
            step(*args)

        monkeypatch.setattr(side.optimizer, "step", noted)

    def average(parameters: list[torch.nn.Parameter], loss: torch.Tensor) -> Callable[[], torch.Tensor]:
        whose = "generators" if parameters is table.sides[0].parameters else "discriminators"
        assert all(parameter.grad is not None for parameter in parameters)
        if whose == "generators":
            assert all(p.grad is None for p in table.method.discriminators.parameters())
        order.append(f"{whose} averaged")
        return lambda: loss

    train_step(table.method, *table.sides, [pictures()], table.precision, average)
    averaged, moved = (sorted(word for word in order if word.endswith(end)) for end in ("averaged", "move"))
    assert (averaged, moved) == (
        ["discriminators averaged", "generators averaged"],
        ["discriminators move", "generators move"],
    )
    # The generators' gradients are on their way while the discriminators compute, and nobody moves twice
    assert order[0] == "generators averaged"


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


def test_a_step_asks_each_player_as_often_as_the_mathematics_needs():
    table = Table()
    calls: list[tuple[str, int]] = []
    for kind in ("generators", "discriminators"):
        for name, network in getattr(table.method, kind).items():
            network.register_forward_pre_hook(
                lambda module, inputs, name=f"{kind}.{name}": calls.append((name, len(inputs[0])))
            )
    table.play(pictures())
    assert sorted(calls) == [
        ("discriminators.a", 1),  # the generators' side: is the fake believed?
        ("discriminators.a", 2),  # its own side: real and fake
        ("discriminators.b", 1),
        ("discriminators.b", 2),
        ("generators.ab", 1),  # the way back
        ("generators.ab", 2),  # what it must translate, and what it must leave alone
        ("generators.ba", 1),
        ("generators.ba", 2),
    ]


def test_only_one_turn_is_in_memory_at_a_time(monkeypatch):
    table = Table()
    held: list[int] = []  # bytes kept for the way back, when the losses of a turn are known
    kept = 0

    class Kept:
        def __init__(self, tensor: torch.Tensor) -> None:
            nonlocal kept
            self.tensor, self.size = tensor, tensor.nbytes
            kept += self.size

        def __del__(self) -> None:
            nonlocal kept
            kept -= self.size

    losses = table.method._generator_losses

    def counted(*turn):
        found = losses(*turn)
        held.append(kept)
        return found

    monkeypatch.setattr(table.method, "_generator_losses", counted)
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        table.play(pictures())
    assert len(held) == 2
    assert held[1] < 1.05 * held[0], "the first turn was still there during the second"


def test_recomputing_gives_the_same_step_and_keeps_less():
    def run(recompute: bool) -> tuple[StepResult, torch.Tensor, int]:
        table = Table()
        for generator in table.method.generators.values():
            generator.recompute = recompute
        kept = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            for _, losses in table.method.generator_turns(pictures()):
                del losses
        return table.play(pictures()), table.weights(), kept

    plain, weights, kept = run(False)
    again, same, less = run(True)
    for name, value in plain.figures.items():
        torch.testing.assert_close(again.figures[name], value, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(same, weights, rtol=0, atol=1e-6)
    assert less < 0.6 * kept


def test_a_weight_is_cast_once_a_step():
    table = Table(torch.bfloat16)
    weights = {p.data_ptr() for p in table.method.generators.parameters() if p.ndim == 4}
    casts: list[int] = []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default and args[0].data_ptr() in weights:
                casts.append(args[0].data_ptr())
            return function(*args, **(kwargs or {}))

    with Casts():
        table.play(pictures())
    assert len(casts) == len(set(casts)) == len(weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # looked at by the compiler
def test_a_compiled_step_has_no_break_and_compiles_nothing_anew_after_the_first():
    counters = torch._dynamo.utils.counters
    torch._dynamo.reset()
    table = Table()
    for network in (*table.method.generators.values(), *table.method.discriminators.values()):
        network.compile(backend="eager", fullgraph=True)  # which raises at a break
    table.play(pictures())
    table.play(pictures())
    counters.clear()
    for _ in range(3):
        table.play(pictures())
    assert not counters["stats"].get("unique_graphs")
    assert not counters["graph_break"]
    torch._dynamo.reset()
