"""Losses against values worked out by hand and against critics whose gradient is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.losses import ADVERSARIAL_LOSSES, RECONSTRUCTION_LOSSES, AdversarialLoss, WithR1, build_adversarial
from cyclegan.networks import build_discriminator

REAL = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1)
FAKE = torch.tensor([0.5, -3.0]).view(2, 1, 1, 1)


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, one verdict per picture, whose gradient is w everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum((1, 2, 3)).view(-1, 1, 1, 1)


class Saying(nn.Module):
    """A discriminator that says the same to everything."""

    def __init__(self, verdict: float) -> None:
        super().__init__()
        self.verdict = nn.Parameter(torch.tensor(verdict))

    def forward(self, x: Tensor) -> Tensor:
        return self.verdict.expand(len(x), 1, 2, 2) + 0 * x.mean()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def build(name: str) -> AdversarialLoss:
    """Without a penalty, so that the plain formula shows."""
    loss = build_adversarial(name, gradient_penalty=0.0)
    assert isinstance(loss, AdversarialLoss)
    return loss


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("lsgan", ((1 + 4) / 2 + (0.25 + 9) / 2) / 2, (0.25 + 16) / 2),
        (
            "bce",
            ((softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2) / 2,
            (softplus(-0.5) + softplus(3)) / 2,
        ),
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2, (-0.5 + 3) / 2),
        ("wgan-gp", (0.5 - 3) / 2 - (2 - 1) / 2, (-0.5 + 3) / 2),
    ],
)
def test_both_sides_have_the_value_of_the_formula(name: str, discriminator: float, generator: float) -> None:
    loss, says = build(name), Linear(torch.ones(1, 1, 1))  # the verdict is the pixel
    assert loss.discriminator(says, REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-5)
    assert loss.generator(says, FAKE).item() == pytest.approx(generator, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "raw", "generator", "discriminator"),
    [("lsgan", 0.5, 0.25, 0.25), ("bce", 0.0, math.log(2), math.log(2)), ("hinge", 0.0, 0.0, 2.0)],
)
def test_a_discriminator_that_cannot_tell_says_the_equilibrium_and_has_nothing_to_gain(
    name: str, raw: float, generator: float, discriminator: float
) -> None:
    """With real and fake alike, its best answer is where the loss as a function of the verdict is flat."""
    loss, says = build(name), Saying(raw)
    x = torch.zeros(2, 3, 4, 4)
    assert loss.score(says(x)).mean().item() == pytest.approx(loss.equilibrium)
    assert loss.generator(says, x).item() == pytest.approx(generator)
    value = loss.discriminator(says, x, x)
    assert value.item() == pytest.approx(discriminator)
    value.backward()
    assert says.verdict.grad is not None
    assert says.verdict.grad.item() == pytest.approx(0, abs=1e-6)


def test_only_the_wasserstein_critic_has_no_equilibrium_to_read() -> None:
    assert [name for name, kind in ADVERSARIAL_LOSSES.items() if kind().equilibrium is None] == ["wgan-gp"]


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_a_step_against_its_gradient_makes_a_fake_more_believed(name: str) -> None:
    loss, says = build(name), Linear(torch.ones(1, 1, 1))
    fake = FAKE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss.generator(says, fake), fake)
    assert (gradient < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("r1", [0.0, 1.0])
def test_the_discriminator_loss_gives_no_gradient_to_the_maker_of_the_fakes(name: str, r1: float) -> None:
    fake = torch.randn(2, 3, 24, 24, requires_grad=True)
    network = build_discriminator("patch", channels=2)
    build_adversarial(name, r1=r1).discriminator(network, torch.randn(2, 3, 24, 24), fake).backward()
    assert fake.grad is None


@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_the_penalty_of_wgan_gp_on_a_linear_critic_is_its_analytic_value(penalty: float) -> None:
    weight = torch.randn(3, 4, 5)
    critic = Linear(weight)
    real, fake = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    plain = build("wgan-gp").discriminator(critic, real, fake)
    penalised = build_adversarial("wgan-gp", gradient_penalty=penalty).discriminator(critic, real, fake)
    wanted = penalty * (weight.norm().item() - 1) ** 2  # ∇D = w wherever it is taken
    assert (penalised - plain).item() == pytest.approx(wanted, rel=1e-4)


def test_the_penalty_of_wgan_gp_teaches_the_critic_to_have_slope_one() -> None:
    critic = Linear(torch.full((1, 2, 2), 1.5))  # ‖w‖ = 3
    same = torch.randn(4, 1, 2, 2)
    loss = build_adversarial("wgan-gp", gradient_penalty=10.0).discriminator(critic, same, same)
    loss.backward()  # real = fake, so what is left is λ (‖w‖ - 1)², whose gradient is 2 λ (‖w‖ - 1) w / ‖w‖
    torch.testing.assert_close(critic.weight.grad, torch.full((1, 2, 2), 2 * 10 * 2 * 0.5))


def test_the_penalty_is_taken_between_real_and_fake() -> None:
    class Watching(Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    seen: list[Tensor] = []
    real, fake = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    torch.manual_seed(0)
    build_adversarial("wgan-gp").discriminator(Watching(torch.ones(1, 2, 2)), real, fake)
    between = seen[-1]
    assert (between.amax((1, 2, 3)) == between.amin((1, 2, 3))).all()  # one u for a whole picture
    u = between[:, 0, 0, 0]
    assert u.min() > 0
    assert u.max() < 1
    assert u.std() > 0.2  # uniform: 0.29
    first = seen[-1]
    torch.manual_seed(0)
    build_adversarial("wgan-gp").discriminator(Watching(torch.ones(1, 2, 2)), real, fake)
    assert torch.equal(first, seen[-1])  # the draw follows torch's seed


def test_a_flat_critic_has_a_finite_penalty_and_gradient() -> None:
    critic = Linear(torch.zeros(1, 2, 2))
    value = build_adversarial("wgan-gp").discriminator(critic, REAL.expand(2, 1, 2, 2), FAKE.expand(2, 1, 2, 2))
    value.backward()
    assert value.isfinite()
    assert critic.weight.grad is not None
    assert critic.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_r1_adds_half_gamma_times_the_squared_slope_at_real_pictures(name: str) -> None:
    weight = torch.randn(1, 3, 3)
    critic = Linear(weight)
    real, fake = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    plain = build_adversarial(name, gradient_penalty=0.0)
    wrapped = build_adversarial(name, gradient_penalty=0.0, r1=5.0)
    difference = wrapped.discriminator(critic, real, fake) - plain.discriminator(critic, real, fake)
    assert difference.item() == pytest.approx(5 / 2 * weight.square().sum().item(), rel=1e-4)
    assert wrapped.generator(critic, fake).item() == plain.generator(critic, fake).item()
    assert wrapped.equilibrium == plain.equilibrium
    assert isinstance(wrapped, WithR1)
    assert wrapped.double_backward


def test_the_gradient_of_r1_reaches_the_weights() -> None:
    critic = Linear(torch.ones(1, 2, 2))
    (
        build_adversarial("hinge", r1=3.0).discriminator(
            critic, 9 * torch.ones(1, 1, 2, 2), -9 * torch.ones(1, 1, 2, 2)
        )
    ).backward()
    torch.testing.assert_close(critic.weight.grad, torch.full((1, 2, 2), 3.0))  # both margins hold: only γ w is left


def test_r1_is_taken_at_the_real_pictures() -> None:
    class Cubic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x**3

    value = build_adversarial("wgan-gp", r1=2.0, gradient_penalty=0.0).discriminator(Cubic(), REAL, FAKE)
    plain = build("wgan-gp").discriminator(Cubic(), REAL, FAKE)
    assert (value - plain).item() == pytest.approx(((3 * 4) ** 2 + (3 * 1) ** 2) / 2)


def test_the_slope_of_a_patch_discriminator_is_that_of_its_mean_verdict() -> None:
    class Patches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0], 3 * x[:, 0]], dim=1).flatten(1).view(len(x), 1, -1, 2)

    x = torch.zeros(1, 1, 2, 2)  # the mean verdict is twice the mean pixel: slope (½, ½, ½, ½), norm 1
    assert ADVERSARIAL_LOSSES["wgan-gp"]().penalty(Patches(), x, x).item() == pytest.approx(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_scales_weigh_the_same_whatever_their_size(name: str) -> None:
    class Scales(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x.expand(-1, 1, 4, 4), 2 * x]

    loss = build(name)
    single = [loss.discriminator(Linear(torch.full((1, 1, 1), weight)), REAL, FAKE) for weight in (1.0, 2.0)]
    assert loss.discriminator(Scales(), REAL, FAKE).item() == pytest.approx(sum(single).item() / 2, rel=1e-5)  # type: ignore[union-attr]
    assert loss.score(Scales()(REAL)).shape == (2, 2)
    means = [loss.score(weight * REAL).mean().item() for weight in (1, 2)]
    assert loss.score(Scales()(REAL)).mean().item() == pytest.approx(sum(means) / 2)


def test_verdicts_are_probabilities_for_the_cross_entropy_and_raw_for_the_others() -> None:
    for name in ADVERSARIAL_LOSSES:
        wanted = REAL.sigmoid() if name == "bce" else REAL
        torch.testing.assert_close(build(name).score(REAL), wanted)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("kind", ["patch", "multiscale"])
def test_every_loss_trains_every_weight_of_a_discriminator_under_autocast_in_fp32(name: str, kind: str) -> None:
    torch.manual_seed(0)
    network = build_discriminator(kind, channels=2)
    loss = build_adversarial(name, r1=1.0)
    real, fake = torch.rand(2, 3, 48, 48), torch.rand(2, 3, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss.discriminator(network, real, fake)
        assert value.dtype == loss.generator(network, fake).dtype == torch.float32
    value.backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        if label.endswith("weight"):
            assert parameter.grad.abs().max() > 0


def test_a_penalty_under_autocast_equals_the_one_in_fp32() -> None:
    torch.manual_seed(0)
    network = build_discriminator("patch", channels=2)
    real, fake = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    values = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            values.append(ADVERSARIAL_LOSSES["wgan-gp"]().penalty(network, real, fake).item())  # type: ignore[attr-defined]
    assert values[0] == values[1]


def test_the_cross_entropy_of_a_very_sure_discriminator_does_not_overflow() -> None:
    loss, says = build("bce"), Linear(torch.full((1, 1, 1), 1000.0))
    assert loss.discriminator(says, -REAL.abs(), REAL.abs()).item() == pytest.approx(1500)


def test_reconstruction_is_the_mean_absolute_or_squared_difference() -> None:
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 0.0, 5.0])
    assert RECONSTRUCTION_LOSSES["l1"](a, b).item() == pytest.approx(1.0)
    assert RECONSTRUCTION_LOSSES["l2"](a, b).item() == pytest.approx(5 / 3)
    assert RECONSTRUCTION_LOSSES["l1"](a.bfloat16(), b).dtype == torch.float32


def test_an_unknown_loss_names_the_option_and_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"--adversarial: .*did you mean 'wgan-gp'"):
        build_adversarial("wgan")
