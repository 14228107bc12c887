"""The losses of CycleGAN against the formula, with networks whose output can be computed by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.methods import METHODS, build_method
from cyclegan.methods.cyclegan import CycleGAN, CycleGANOptions
from tests.support.methods import images_and_losses


class Scale(nn.Module):
    """x -> weight · x."""

    in_channels = out_channels = 1
    per_sample = False

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


def game(**options) -> CycleGAN:
    """G doubles, F triples, D_A halves, D_B leaves as it is."""
    generators, discriminators = iter([Scale(2.0), Scale(3.0)]), iter([Scale(0.5), Scale(1.0)])
    settings = asdict(replace(CycleGANOptions(), **options))
    return CycleGAN(lambda direction: next(generators), lambda domain: next(discriminators), **settings)


BATCH = {"a": torch.full((1, 1, 2, 2), 0.1), "b": torch.full((1, 1, 2, 2), 0.2)}


def test_images_are_named_by_the_domain_they_belong_to():
    images = images_and_losses(game(), BATCH)[0]
    values = {name: round(image.mean().item(), 4) for name, image in images.items()}
    assert values == {
        "fake_b": 0.2,  # G(a)
        "fake_a": 0.6,  # F(b)
        "rec_a": 0.6,  # F(G(a))
        "rec_b": 1.2,  # G(F(b))
        "identity_a": 0.3,  # F(a)
        "identity_b": 0.4,  # G(b)
    }


def test_the_generators_losses_are_the_formula():
    method = game(pool_size=0)
    losses = images_and_losses(method, BATCH)[1]
    expected = {
        "adversarial_a": (0.5 * 0.6 - 1) ** 2,
        "adversarial_b": (0.2 - 1) ** 2,
        "cycle_a": 10 * abs(0.6 - 0.1),
        "cycle_b": 10 * abs(1.2 - 0.2),
        "identity_a": 5 * abs(0.3 - 0.1),
        "identity_b": 5 * abs(0.4 - 0.2),
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)


def test_the_discriminators_losses_are_the_formula_and_do_not_reach_the_generators():
    method = game(pool_size=0)
    losses = method.discriminator_losses(BATCH, images_and_losses(method, BATCH)[0])
    expected = {
        "discriminator_a": 0.5 * ((0.05 - 1) ** 2 + 0.3**2),
        "discriminator_b": 0.5 * ((0.2 - 1) ** 2 + 0.2**2),
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    sum(losses.values()).backward()
    assert all(parameter.grad is None for parameter in method.generators.parameters())
    assert all(parameter.grad is not None for parameter in method.discriminators.parameters())


def test_each_generator_is_called_twice_and_the_result_is_that_of_three_calls():
    torch.manual_seed(0)
    method = build_method(TrainConfig(channels=2, generator="resnet_6blocks"))
    batch = {name: torch.rand(2, 3, 32, 32) * 2 - 1 for name in "ab"}
    calls = []
    handle = method.generators["ab"].register_forward_hook(lambda *details: calls.append(1))
    images = images_and_losses(method, batch)[0]
    handle.remove()
    assert len(calls) == 2
    ab, ba = method.generators["ab"], method.generators["ba"]
    alone = {"fake_b": ab(batch["a"]), "fake_a": ba(batch["b"])}
    alone |= {"identity_b": ab(batch["b"]), "identity_a": ba(batch["a"])}
    alone |= {"rec_a": ba(alone["fake_b"]), "rec_b": ab(alone["fake_a"])}
    for name, image in alone.items():
        torch.testing.assert_close(images[name], image, rtol=0, atol=1e-5)


def test_the_turns_are_the_whole_of_the_game_and_its_gradients():
    torch.manual_seed(0)
    method = build_method(TrainConfig(channels=2, generator="resnet_6blocks"))
    batch = {name: torch.rand(1, 3, 32, 32) * 2 - 1 for name in "ab"}
    images, whole = images_and_losses(method, batch)
    parameters = list(method.generator_parameters())
    together = torch.autograd.grad(sum(whole.values()), parameters, allow_unused=True)
    seen, losses = {}, {}
    for made, part in method.generator_turns(batch):
        assert not set(made) & set(seen)
        sum(part.values()).backward()  # frees what this turn computed; the next must not need it
        seen |= made
        losses |= part
    assert set(seen) == set(images)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        {name: value.item() for name, value in whole.items()}
    )
    for parameter, gradient in zip(parameters, together, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{"norm": "batch"}, {"spectral_norm": True}])
def test_pictures_that_would_change_each_other_are_not_put_together(changes):
    method = build_method(TrainConfig(channels=2, generator="resnet_6blocks", **changes))
    calls = []
    for kind in ("generators", "discriminators"):
        for network in getattr(method, kind).values():
            network.register_forward_pre_hook(lambda module, inputs, kind=kind: calls.append((kind, len(inputs[0]))))
    batch = {name: torch.rand(1, 3, 32, 32) for name in "ab"}
    images = images_and_losses(method, batch)[0]
    method.discriminator_losses(batch, {name: image.detach() for name, image in images.items()})
    generators = 1 if "norm" in changes else 2  # the spectral norm is the discriminators'
    assert max(size for kind, size in calls if kind == "generators") == generators
    assert [size for kind, size in calls if kind == "discriminators"] == [1] * 6  # two for the generators' side


def test_without_identity_its_two_forwards_are_not_computed():
    method = game(lambda_identity=0.0)
    images, losses = images_and_losses(method, BATCH)
    assert set(images) == {"fake_a", "fake_b", "rec_a", "rec_b"}
    assert not any("identity" in name for name in losses)


def test_reconstruction_by_squares():
    method = game(reconstruction="l2")
    losses = images_and_losses(method, BATCH)[1]
    assert losses["cycle_a"].item() == pytest.approx(10 * 0.25, rel=1e-5)


def test_scores_are_mean_verdicts_and_looking_changes_nothing():
    method = build_method(TrainConfig(channels=2, generator="resnet_6blocks", norm="batch", spectral_norm=True))
    batch = {name: torch.rand(1, 3, 32, 32) for name in "ab"}
    images = {name: image.detach() for name, image in images_and_losses(method, batch)[0].items()}
    before = {name: value.clone() for name, value in method.state_dict().items() if isinstance(value, torch.Tensor)}
    scores = method.scores(batch, images)
    assert set(scores) == {"a/real", "a/fake", "b/real", "b/fake"}
    assert method.discriminators.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items() if name in before)
    values = {name: value.item() for name, value in game().scores(BATCH, images_and_losses(game(), BATCH)[0]).items()}
    assert values == pytest.approx({"a/real": 0.05, "a/fake": 0.3, "b/real": 0.2, "b/fake": 0.2})


def test_the_same_seed_makes_the_same_players():
    config = TrainConfig(channels=2, generator="resnet_6blocks")
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([value.flatten() for value in build_method(config).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_unknown_names_are_sentences():
    for changes, sentence in [
        ({"method": "cyclegam"}, "--method: unknown value 'cyclegam'; did you mean 'cyclegan'"),
        ({"generator": "resnet9"}, "--generator"),
        ({"options": {"adversarial": "lsgam"}}, "--adversarial: unknown value 'lsgam'; did you mean 'lsgan'"),
        ({"options": {"reconstruction": "l3"}}, "--reconstruction"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            build_method(TrainConfig(channels=2, **changes))


def test_every_method_declares_its_options():
    for method in METHODS.values():
        assert method.Options()


def test_players_have_the_channels_of_the_domains_they_work_for():
    config = TrainConfig(channels=2, generator="resnet_6blocks", options={"lambda_identity": 0.0})
    method = build_method(config, {"a": 4, "b": 3})
    batch = {"a": torch.rand(1, 4, 32, 32), "b": torch.rand(1, 3, 32, 32)}
    images = images_and_losses(method, batch)[0]
    shapes = {name: image.shape[1] for name, image in images.items()}
    assert shapes == {"fake_b": 3, "fake_a": 4, "rec_a": 4, "rec_b": 3}
    assert set(method.discriminator_losses(batch, images)) == {"discriminator_a", "discriminator_b"}
    specs = {way: (g.spec["in_channels"], g.spec["out_channels"]) for way, g in method.generators.items()}
    assert specs == {"ab": (4, 3), "ba": (3, 4)}


def test_identity_between_different_channels_is_refused():
    with pytest.raises(UsageError, match=r"--lambda-identity 0.5: .* from 1 to 4 channels .* --lambda-identity 0"):
        build_method(TrainConfig(channels=2, generator="resnet_6blocks"), {"a": 1, "b": 4})
    build_method(TrainConfig(channels=2, generator="resnet_6blocks"), {"a": 4, "b": 4})
