"""The outer convolutions' kernels against torch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.networks.kernels.build import load_kernels
from cyclegan.networks.kernels.outer_conv import conv_from_picture, conv_to_picture
from cyclegan.networks.layers import OuterConv2d

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="needs a C compiler")

CASES = [
    (conv_from_picture, 3, 8, 7, 9, 14),
    (conv_from_picture, 1, 4, 7, 5, 4),  # mirrored from both sides
    (conv_from_picture, 4, 6, 3, 6, 6),
    (conv_to_picture, 8, 3, 7, 9, 14),
    (conv_to_picture, 4, 1, 7, 4, 5),
    (conv_to_picture, 6, 4, 5, 7, 6),
]


def reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    half = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (half,) * 4, mode="reflect"), weight, bias)


@pytest.mark.parametrize("band", [10, 2**21])  # bands of four rows, and all in one
@pytest.mark.parametrize(("operator", "inputs", "outputs", "kernel", "height", "width"), CASES)
def test_values_and_gradients_are_those_of_the_convolution(
    operator, inputs, outputs, kernel, height, width, band, monkeypatch
) -> None:
    monkeypatch.setattr("cyclegan.networks.kernels.planes.BAND", band)
    height += 8 if band == 10 else 0
    torch.manual_seed(0)
    x = torch.randn(2, inputs, height, width, dtype=torch.double, requires_grad=True)
    weight = torch.randn(outputs, inputs, kernel, kernel, dtype=torch.double, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.double, requires_grad=True)
    true = reference(x, weight, bias)
    gradient = torch.randn_like(true)
    wanted = torch.autograd.grad(true, (x, weight, bias), gradient)
    mine = [t.detach().float().requires_grad_() for t in (x, weight, bias)]
    found = operator(*mine)
    torch.testing.assert_close(found.double(), true, rtol=1e-5, atol=2e-5)
    for one, other in zip(torch.autograd.grad(found, mine, gradient.float()), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("operator", "inputs", "outputs"), [(conv_from_picture, 3, 16), (conv_to_picture, 16, 3)])
def test_without_bias_and_without_gradient_of_the_input(operator, inputs, outputs) -> None:
    x = torch.randn(1, inputs, 9, 9)
    weight = torch.randn(outputs, inputs, 7, 7, requires_grad=True)
    found = operator(x, weight, None)
    torch.testing.assert_close(found, reference(x, weight, None), rtol=1e-5, atol=1e-4)
    (mine,) = torch.autograd.grad(found.square().sum(), weight)
    (true,) = torch.autograd.grad(reference(x, weight, None).square().sum(), weight)
    torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-2)


def test_the_layer_takes_the_operator_only_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    layer = OuterConv2d(3, 16, 7)
    layer.kernel = lambda *arguments: calls.append("kernel") or conv_from_picture(*arguments)
    x = torch.randn(1, 3, 12, 12)
    plain = layer(x)
    assert not calls
    layer.use_kernel = True
    torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)
    assert calls == ["kernel"]
    layer.double()(x.double())
    assert calls == ["kernel"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "inputs", "outputs"), [("widening", 3, 5), ("narrowing", 5, 3)])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # asked for by opcheck itself
def test_the_operators_keep_their_promises_to_torch(name: str, inputs: int, outputs: int) -> None:
    x = torch.randn(1, inputs, 8, 8, requires_grad=True)
    weight = torch.randn(outputs, inputs, 3, 3, requires_grad=True)
    operator = getattr(torch.ops.cyclegan, f"{name}_convolution").default
    torch.library.opcheck(operator, (x, weight, torch.randn(outputs, requires_grad=True)))
