"""The kernels of the doubling convolutions against torch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from cyclegan.networks import build_generator, place_networks
from cyclegan.networks.kernels.build import load_kernels
from cyclegan.networks.kernels.upsample_conv import resize_conv2x, transposed_conv2x
from cyclegan.networks.layers import DoublingConv2d, ResizeConv2d

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="needs a C compiler")


@pytest.mark.parametrize("band", [1, 2**21])  # four rows at a time, and all at once
@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(4, 3, 9, 14), (3, 5, 1, 1), (2, 1, 5, 2)])
def test_values_and_gradients_are_those_of_the_convolution(inputs, outputs, height, width, band, monkeypatch) -> None:
    monkeypatch.setattr("cyclegan.networks.kernels.planes.BAND", band)
    torch.manual_seed(0)
    x = torch.randn(2, inputs, height, width, dtype=torch.double, requires_grad=True)
    weight = torch.randn(inputs, outputs, 3, 3, dtype=torch.double, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.double, requires_grad=True)
    true = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
    gradient = torch.randn_like(true)
    wanted = torch.autograd.grad(true, (x, weight, bias), gradient)
    mine = [t.detach().float().requires_grad_() for t in (x, weight, bias)]
    found = transposed_conv2x(*mine)
    torch.testing.assert_close(found.double(), true, rtol=1e-5, atol=1e-5)
    for one, other in zip(torch.autograd.grad(found, mine, gradient.float()), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


def enlarged(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return F.conv2d(F.pad(F.interpolate(x, scale_factor=2.0, mode="nearest"), (1,) * 4, mode="reflect"), weight, bias)


@pytest.mark.parametrize("band", [1, 2**21])
@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(4, 3, 9, 14), (3, 5, 1, 1), (2, 1, 5, 2)])
def test_repeating_is_enlarging_first(inputs, outputs, height, width, band, monkeypatch) -> None:
    monkeypatch.setattr("cyclegan.networks.kernels.planes.BAND", band)
    torch.manual_seed(0)
    x = torch.randn(2, inputs, height, width, dtype=torch.double, requires_grad=True)
    weight = torch.randn(outputs, inputs, 3, 3, dtype=torch.double, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.double, requires_grad=True)
    true = enlarged(x, weight, bias)
    gradient = torch.randn_like(true)
    wanted = torch.autograd.grad(true, (x, weight, bias), gradient)
    mine = [t.detach().float().requires_grad_() for t in (x, weight, bias)]
    found = resize_conv2x(*mine)
    torch.testing.assert_close(found.double(), true, rtol=1e-5, atol=1e-5)
    for one, other in zip(torch.autograd.grad(found, mine, gradient.float()), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(resize_conv2x(*mine[:2], None).double(), enlarged(x, weight, None), rtol=1e-5, atol=1e-5)


def test_the_enlarging_layer_takes_the_kernel_only_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "cyclegan.networks.layers.resize_conv2x", lambda *given: calls.append(1) or resize_conv2x(*given)
    )
    layer = ResizeConv2d(4, 2, kernel=3, bias=True)
    x = torch.randn(1, 4, 5, 6)
    plain = layer(x)
    assert not calls
    torch.testing.assert_close(place_networks(layer, torch.device("cpu"), exact=False)(x), plain, rtol=1e-5, atol=1e-5)
    assert calls


def test_without_bias_and_with_weights_that_stand_still() -> None:
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    weight = torch.randn(4, 2, 3, 3)
    found = transposed_conv2x(x, weight, None)
    true = F.conv_transpose2d(x, weight, None, stride=2, padding=1, output_padding=1)
    torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-5)
    (mine,), (theirs,) = (torch.autograd.grad(y.square().sum(), x) for y in (found, true))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "used"), [(3, True), (4, False)])
def test_the_layer_takes_it_for_the_kernel_it_knows(kernel: int, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "cyclegan.networks.layers.transposed_conv2x", lambda *given: calls.append(1) or transposed_conv2x(*given)
    )
    layer = DoublingConv2d(4, 2, kernel, bias=True)
    x = torch.randn(1, 4, 5, 6)
    plain = layer(x)
    assert plain.shape == (1, 2, 10, 12)
    assert not calls
    torch.testing.assert_close(place_networks(layer, torch.device("cpu"), exact=False)(x), plain, rtol=1e-5, atol=1e-5)
    assert bool(calls) is used


def test_a_u_net_is_the_same_with_and_without() -> None:
    torch.manual_seed(0)
    network = build_generator("unet_128", channels=4)
    x = torch.rand(1, 3, 128, 128) * 2 - 1
    exact = place_networks(network, torch.device("cpu"), exact=True)(x)
    torch.testing.assert_close(place_networks(network, torch.device("cpu"), exact=False)(x), exact, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # asked for by opcheck itself
@pytest.mark.parametrize(("name", "shape"), [("doubling", (3, 2, 3, 3)), ("repeating", (2, 3, 3, 3))])
def test_the_operators_keep_their_promises_to_torch(name: str, shape: tuple[int, ...]) -> None:
    given = (torch.randn(1, 3, 4, 4), torch.randn(shape), torch.randn(2))
    operator = getattr(torch.ops.cyclegan, f"{name}_convolution").default
    torch.library.opcheck(operator, [t.requires_grad_() for t in given])
