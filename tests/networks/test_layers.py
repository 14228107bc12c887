"""The parts of the networks: normalisation, enlarging, padding, initial weights, spectral normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.networks import build_discriminator
from cyclegan.networks.layers import (
    INITS,
    UPSAMPLINGS,
    FullPrecision,
    Generator,
    InstanceNorm,
    bound_lipschitz,
    initialise,
    pad_to_fit,
)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_gives_every_channel_of_every_picture_mean_zero_and_variance_one(
    layout: torch.memory_format,
) -> None:
    x = (torch.randn(2, 3, 8, 9) * torch.tensor([0.5, 2, 30]).view(3, 1, 1) + 20).to(memory_format=layout)
    y = InstanceNorm(3)(x).double()
    assert y.mean((2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(2, 3).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(y, nn.InstanceNorm2d(3)(x.double()), atol=1e-4, rtol=0)


def test_instance_norm_of_bf16_is_exact_to_the_rounding_of_its_result() -> None:
    x = (torch.randn(1, 4, 32, 32) + 20).bfloat16()  # in bf16 the mean alone would be off by up to 0.06
    wanted = nn.InstanceNorm2d(4)(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        y = InstanceNorm(4)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), wanted, atol=1e-3, rtol=2**-8)


def test_the_gradient_of_instance_norm_in_bf16_is_that_of_fp32_statistics() -> None:
    x = (torch.randn(1, 4, 32, 32) + 20).bfloat16()
    weights = torch.randn(1, 4, 32, 32)

    def gradient(norm: nn.Module, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        return torch.autograd.grad((norm(x).to(weights.dtype) * weights).sum(), x)[0].float()

    wanted = gradient(nn.InstanceNorm2d(4), x.detach().float())
    torch.testing.assert_close(gradient(InstanceNorm(4), x.detach()), wanted, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_a_constant_picture_becomes_zero_with_finite_gradients_even_if_it_is_one_pixel(
    size: tuple[int, int], training: bool
) -> None:
    x = torch.full((2, 3, *size), 0.7, requires_grad=True)
    y = InstanceNorm(3).train(training)(x)
    y.square().sum().backward()
    assert y.abs().max() < 1e-4
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("name", UPSAMPLINGS)
def test_enlarging_doubles_height_and_width(name: str, kernel: int) -> None:
    assert UPSAMPLINGS[name](2, 5, kernel=kernel, bias=True)(torch.zeros(1, 2, 3, 4)).shape == (1, 5, 6, 8)


def test_only_the_transposed_convolution_draws_a_checkerboard() -> None:
    """On a constant input with constant weights an inner output pixel is proportional to its number of products."""
    kinds = {}
    for name, make in UPSAMPLINGS.items():
        layer = make(1, 1, kernel=3, bias=False)
        nn.init.ones_(layer.weight)
        kinds[name] = set(layer(torch.ones(1, 1, 6, 6))[0, 0, 2:-2, 2:-2].flatten().tolist())
    assert kinds == {"transposed": {1.0, 2.0, 4.0}, "resize": {9.0}}


def test_a_picture_that_fits_is_not_copied() -> None:
    x = torch.zeros(1, 3, 8, 16)
    assert pad_to_fit(x, 4, 8) is x


def test_padding_mirrors_where_it_can_and_repeats_the_edge_where_it_cannot() -> None:
    row = torch.tensor([1.0, 2, 3, 4, 5, 6]).view(1, 1, 1, 6)
    padded = pad_to_fit(row, 4, 8)
    assert padded.shape == (1, 1, 8, 8)
    for line in padded[0, 0]:  # one row can only be repeated; six columns can be mirrored by two
        assert line.tolist() == [1, 2, 3, 4, 5, 6, 5, 4]


def test_a_generator_crops_exactly_what_it_padded() -> None:
    class Echo(Generator):
        def forward_padded(self, x: Tensor) -> Tensor:
            assert x.shape[-1] % 4 == 0
            assert x.shape[-2] >= 8
            return x

    x = torch.rand(2, 3, 5, 13) - 0.5
    torch.testing.assert_close(Echo(3, 3, multiple=4, smallest=8)(x), x.tanh())


def test_the_result_of_a_generator_keeps_fine_grey_levels_under_autocast() -> None:
    class Half(Generator):
        def forward_padded(self, x: Tensor) -> Tensor:
            return x.bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        y = Half(1, 1, multiple=1, smallest=1)(torch.linspace(-3, 3, 100).view(1, 1, 10, 10))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, torch.linspace(-3, 3, 100).view(1, 1, 10, 10).bfloat16().float().tanh())


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("normal", 0.02),
        ("xavier", (2 / (64 * 16 + 128 * 16)) ** 0.5),
        ("kaiming", (2 / (64 * 16)) ** 0.5),
        ("orthogonal", (64 * 16) ** -0.5),
    ],
)
def test_initial_weights_have_the_deviation_of_their_paper_and_biases_are_zero(init: str, deviation: float) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 4)
    initialise(conv, init, 0.02)
    assert conv.bias is not None
    assert conv.bias.abs().max() == 0
    assert conv.weight.mean().abs() < 0.01 * deviation
    torch.testing.assert_close(conv.weight.std().item(), deviation, rtol=0.02, atol=0)
    assert init in INITS


def test_orthogonal_weights_have_orthonormal_rows() -> None:
    conv = nn.Conv2d(4, 6, 3)
    initialise(conv, "orthogonal", 0.02)
    rows = conv.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(6), atol=1e-5, rtol=0)


def test_the_scales_of_batch_norm_start_around_one() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4096)
    initialise(norm, "normal", 0.02)
    torch.testing.assert_close(norm.weight.mean().item(), 1.0, atol=2e-3, rtol=0)
    torch.testing.assert_close(norm.weight.std().item(), 0.02, atol=2e-3, rtol=0)


def test_an_unknown_initialisation_names_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"--init: .*did you mean 'kaiming'"):
        initialise(nn.Conv2d(1, 1, 1), "kaimin", 0.02)


def test_spectral_normalisation_brings_the_largest_singular_value_of_every_convolution_to_one() -> None:
    torch.manual_seed(0)
    network = build_discriminator("patch", channels=4, spectral_norm=True)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5
    for conv in convolutions:
        for _ in range(300):
            conv.weight  # noqa: B018 - in training each look is one more power iteration
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_spectral_normalisation_is_computed_outside_autocast() -> None:
    class Spy(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            seen.append(torch.is_autocast_enabled("cpu"))
            return weight

    seen: list[bool] = []
    with torch.autocast("cpu", torch.bfloat16):
        FullPrecision(Spy())(torch.zeros(1))
    assert seen == [False]
    conv = nn.Conv2d(3, 4, 3)
    bound_lipschitz(conv)
    assert isinstance(conv.parametrizations.weight[0], FullPrecision)  # type: ignore[union-attr, index]
