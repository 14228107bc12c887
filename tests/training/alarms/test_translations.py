"""Alarms about translations: the real probe, real pictures, and generators with a planted fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from cyclegan.data.held_out import held_out_pictures
from cyclegan.system.pixels import to_unit
from cyclegan.training.alarms import probe as probing
from tests.training.alarms.faults import (
    Chequers,
    Collapses,
    Copies,
    Darkens,
    Finds,
    Hides,
    Inverts,
    Lightens,
    Repaints,
)
from tests.training.loop_io.test_samples import Sharing


@pytest.mark.parametrize(
    ("there", "back", "name", "bound"),
    [
        (Inverts, Inverts, "colours-inverted", -0.9),
        (Copies, Copies, "nothing-changes", 4.0),
        (Collapses, Collapses, "outputs-alike", 0.2),
        (Chequers, Chequers, "checkerboard", 1.0),
    ],
)
def test_a_generator_with_a_planted_fault_raises_its_alarm_and_no_other(watched, there, back, name, bound):
    run = watched()
    assert run.begin() == []
    assert run.look(there(), back()) == [name]
    step, _, text, figure = run.recorder.alarms[0]
    assert step == 300 * run.alarms.alarms[name].patience
    assert figure <= bound
    assert "Usual cause: " in text
    assert f"docs/alarms.md#{name}" in text


def test_a_generator_that_hides_its_input_raises_the_alarm_of_hidden_signals(watched):
    run = watched()
    run.begin()
    real = {d: to_unit(p) for d, p in held_out_pictures(run.sets, run.config, 8, run.kinds).items()}
    pair = nn.ModuleDict({"ab": Hides(), "ba": Finds(real["a"])})
    assert run.look(*pair.values()) == ["hidden-signal"]
    figures = run.recorder.rows[0][1]
    assert figures["probe/cycle_l1_a"] < 1  # the cycle is perfect, as long as nothing touches the translation
    assert figures["probe/cycle_noise_ratio_a"] > 5


@pytest.mark.parametrize("there", [Copies, Collapses, Chequers])
def test_one_direction_alone_is_enough_and_is_named(watched, there):
    run = watched()
    run.begin()
    run.look(Repaints(), there())
    assert "from B to A" in run.recorder.alarms[0][2]
    assert len(run.recorder.alarms) == 1


def test_a_method_with_one_direction_is_watched_in_that_one(watched):
    run = watched()
    run.begin()
    run.method.generators = nn.ModuleDict({"ab": Inverts()})
    assert run.look(Inverts()) == ["colours-inverted"]
    assert not [name for name in run.recorder.rows[0][1] if "cycle" in name or name.endswith("ba")]


def test_inverted_colours_whose_way_back_fails_are_not_called_that(watched):
    run = watched()
    run.begin()
    assert "colours-inverted" not in run.look(Inverts(), Repaints())


def test_an_alarm_speaks_once_until_it_has_been_clear(watched):
    run = watched()
    run.begin()
    bad, good = Inverts(), Repaints()
    for number, generator in enumerate([bad, good, bad, bad, bad, good, bad, bad, good, good, bad, bad, bad], 1):
        run.alarms.probe(300 * number, nn.ModuleDict({"ab": generator}), run.precision)
    # The first look alone may be chance, and so may a single clear one; the two after the eighth end it
    assert [step for step, _, _, _ in run.recorder.alarms] == [4 * 300, 12 * 300]


def begun_again(run):
    """The same run, from its start."""
    again = type(run)(run.config, run.run)
    again.begin()
    return again


# What is healthy


def test_honest_translators_raise_nothing(watched):
    run = watched()
    run.begin()
    assert run.look(Repaints(), Repaints(-1.0), times=4) == []


def test_a_night_that_is_dark_and_of_little_contrast_raises_nothing(watched, scenes):
    run = watched(a=str(scenes("day", 24)), b=str(scenes("night", 24, bright=-0.35, contrast=0.075)))
    run.begin()
    assert run.look(Darkens(), Lightens(), times=4) == []


@pytest.mark.parametrize(("count", "a", "b"), [(2, 3, 3), (1, 3, 3), (4, 1, 1), (4, 1, 3)])
def test_small_sets_and_grey_ones_raise_nothing(watched, scenes, count, a, b):
    folders = {"a": str(scenes("x", count, channels=a)), "b": str(scenes("y", count, channels=b))}
    same = {} if a == b else {"lambda_identity": 0.0}
    run = watched(**folders, options=same)
    assert run.begin() == []
    channels = {domain: view.channels for domain, view in run.kinds.items()}
    assert run.look(Repaints(channels=channels["b"]), Repaints(-1.0, channels=channels["a"])) == []


def test_pictures_of_five_channels_are_looked_at_as_well(watched):
    run = watched()
    run.begin()
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(8, 5, 4, 4) * 2 - 1, size=32, mode="bilinear")
    run.alarms._pictures = {"a": smooth, "b": smooth.flip(0)}
    run.method.discriminators = nn.ModuleDict()
    assert run.look(Repaints(channels=5), Repaints(-1.0, channels=5)) == []
    fresh = begun_again(run)
    fresh.alarms._pictures = run.alarms._pictures
    fresh.method.discriminators = nn.ModuleDict()
    assert fresh.look(Inverts(), Inverts()) == ["colours-inverted"]


def test_networks_before_their_first_step_raise_nothing(watched):
    run = watched()
    run.begin()
    run.alarms.probe(300, run.method.generators, run.precision)
    assert run.recorder.names == []


@pytest.mark.slow
def test_the_probe_leaves_networks_and_the_random_state_as_they_were(watched):
    run = watched(dropout=True, norm="batch", spectral_norm=True)
    run.begin()
    run.method.generators["ab"].eval()  # one that was not training stays so
    before = {name: value.clone() for name, value in run.method.state_dict().items() if isinstance(value, torch.Tensor)}
    modes = [module.training for module in run.method.modules()]
    torch.manual_seed(5)
    run.alarms.probe(300, run.method.generators, run.precision)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert [module.training for module in run.method.modules()] == modes
    assert all(torch.equal(value, run.method.state_dict()[name]) for name, value in before.items())


def test_several_processes_share_everything_that_the_probe_does(watched):
    run = watched()
    run.begin()
    ranks = Sharing(0)
    run.alarms.run = replace(run.alarms.run, ranks=ranks)
    run.alarms.probe(300, run.method.generators, run.precision)
    assert sum(ranks.shared) == 32 + 32  # as the test below counts them


def test_the_probe_costs_less_than_a_hundredth_of_the_steps_between(watched, monkeypatch):
    """Forward passes of one picture are counted, of the probe and of a step without the identity term."""
    run = watched(options={"lambda_identity": 0.0})
    run.begin()
    passed = {"generators": 0, "discriminators": 0}

    def counting(side: str) -> Callable[..., None]:
        def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            passed[side] += len(inputs[0])

        return count

    for side in passed:
        for network in getattr(run.method, side).values():
            first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
            first.register_forward_pre_hook(counting(side))
    run.alarms.probe(300, run.method.generators, run.precision)
    assert passed == {"generators": 32, "discriminators": 32}
    step = 4 * 3  # there and back in both directions; a backward pass is worth two forward
    assert passed["generators"] / (probing.EVERY * step) < 0.01
