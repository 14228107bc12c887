"""What discriminators are shown instead of the pictures."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from cyclegan.errors import UsageError
from cyclegan.losses import build_adversarial
from cyclegan.methods.cyclegan import CycleGAN, CycleGANOptions
from cyclegan.methods.diffaug import POLICIES, Augmented, color, cutout, parse_policies, translation
from tests.support.methods import images_and_losses


class Watching(nn.Module):
    """Keeps what it was shown; its verdict is the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach())
        return self.weight * x.mean((1, 2, 3), keepdim=True)


def pictures(count: int = 6, channels: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_each_picture_is_changed_in_its_own_way_and_keeps_its_shape(policy, channels):
    torch.manual_seed(0)  # of 25 translations two of six pictures may have the same
    same = pictures(1, channels).expand(6, -1, -1, -1)
    changed = policy(same)
    assert changed.shape == same.shape
    assert changed.dtype == same.dtype
    assert all(not torch.equal(changed[0], other) for other in changed[1:])


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
def test_gradients_pass_through(policy):
    start = pictures().double().requires_grad_()

    def same_draws(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return policy(x)

    assert torch.autograd.gradcheck(same_draws, (start[:1, :, :6, :6].detach().requires_grad_(),))
    policy(start).sum().backward()
    assert start.grad is not None
    assert start.grad.abs().sum() > 0


def test_a_shift_moves_whole_pixels_by_at_most_an_eighth_in_all_directions():
    start = torch.zeros(400, 1, 16, 16)
    start[:, :, 8, 8] = 1
    torch.manual_seed(0)
    places = translation(start).flatten(1).argmax(1)
    rows, columns = places // 16 - 8, places % 16 - 8
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}
    assert translation(start).sum() == 400  # nothing is interpolated


def test_a_hole_takes_at_most_a_quarter_and_reaches_over_the_border():
    torch.manual_seed(0)
    holes = (cutout(torch.ones(4000, 3, 16, 16)) == 0).all(1).flatten(1).sum(1)
    assert holes.max() == 64
    assert holes.min() == 16  # the centre in a corner


def test_brightness_is_fair_and_a_grey_picture_stays_grey():
    torch.manual_seed(0)
    changed = color(torch.full((4000, 3, 2, 2), 0.1))
    assert changed.std(1).max() < 1e-6
    means = changed.mean((1, 2, 3))
    assert abs(means.mean() - 0.1) < 0.02
    assert -0.41 < means.min() < -0.39
    assert 0.59 < means.max() < 0.61


def test_the_draws_follow_from_the_seed():
    outcomes = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        changed = pictures()
        for policy in parse_policies("color, translation,cutout"):
            changed = policy(changed)
        outcomes.append(changed)
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_an_unknown_policy_is_a_sentence():
    with pytest.raises(UsageError, match=r"--diffaug.*'colour'.*color"):
        parse_policies("translation,colour")


def test_real_and_fake_are_both_seen_changed_and_in_one_call_where_that_is_the_same():
    network = Watching()
    network.per_sample = True
    loss = build_adversarial("lsgan")
    real = pictures(2)
    loss.discriminator(Augmented(network, (cutout,)), real, -real)
    (seen,) = network.seen
    assert len(seen) == 4
    assert all((picture == 0).any() for picture in seen)
    assert not torch.equal(seen[0], -seen[2])  # each its own hole


class Same(nn.Identity):
    """A generator that changes nothing."""

    in_channels = out_channels = 3
    per_sample = False


def method(**options) -> CycleGAN:
    settings = asdict(replace(CycleGANOptions(), **options))
    return CycleGAN(lambda direction: Same(), lambda domain: Watching(), **settings)


def test_a_method_shows_changed_pictures_to_both_sides_but_looks_at_unchanged_ones():
    game = method(diffaug="cutout", pool_size=0)
    batch = {"a": pictures(2), "b": pictures(2) / 2}
    images, _ = images_and_losses(game, batch)
    game.discriminator_losses(batch, images)
    for network in game.discriminators.values():
        assert len(network.seen) == 3  # fake for the generators' loss, real and fake for its own
        assert all((seen == 0).any() for seen in network.seen)
        network.seen.clear()
    game.scores(batch, images)
    for network in game.discriminators.values():
        assert all(not (seen == 0).any() for seen in network.seen)
    assert not any("policies" in name for name in game.state_dict())


def test_noise_is_put_on_the_way_back_only_and_is_of_the_size_that_was_asked_for():
    game = method(cycle_noise=4.0, lambda_identity=0.0)
    batch = {"a": torch.zeros(1, 3, 200, 200), "b": torch.zeros(1, 3, 200, 200)}
    torch.manual_seed(0)
    images = images_and_losses(game, batch)[0]
    assert images["fake_b"].abs().max() == 0
    assert abs(images["rec_a"].std() * 127.5 - 4) < 0.1
    assert images_and_losses(method(), batch)[0]["rec_a"].abs().max() == 0
