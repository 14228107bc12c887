"""The residual block's kernel against its layers one by one, in double precision."""

import pytest
import torch
from torch import Tensor

from cyclegan.networks import build_generator, place_networks
from cyclegan.networks.kernels.build import load_kernels, usable
from cyclegan.networks.kernels.residual import residual_block
from cyclegan.networks.resnet import ResidualBlock

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="needs a C compiler")
CPU = torch.device("cpu")


def blocks(channels: int) -> tuple[ResidualBlock, ResidualBlock]:
    torch.manual_seed(0)
    exact = ResidualBlock(channels, "instance", dropout=False).double()
    fast = ResidualBlock(channels, "instance", dropout=False)
    fast.load_state_dict(exact.state_dict())
    return exact, place_networks(fast, CPU, exact=False)


@torch.no_grad()
def error(found: Tensor, true: Tensor) -> float:
    """Root mean square of the difference, in deviations of the true values."""
    return float((found.double() - true).square().mean().sqrt() / true.std())


@pytest.mark.parametrize(("channels", "batch", "height", "width"), [(16, 1, 8, 8), (32, 2, 2, 3), (48, 3, 13, 6)])
def test_the_kernel_gives_what_the_layers_give(channels: int, batch: int, height: int, width: int) -> None:
    exact, fast = blocks(channels)
    x = torch.randn(batch, channels, height, width, dtype=torch.double)
    assert error(fast(x.float()), exact(x)) < 2e-5


@pytest.mark.parametrize(("channels", "batch", "height", "width"), [(16, 1, 8, 8), (32, 2, 2, 3), (48, 3, 13, 6)])
def test_its_gradients_are_those_of_the_layers(channels: int, batch: int, height: int, width: int) -> None:
    exact, fast = blocks(channels)
    x = torch.randn(batch, channels, height, width, dtype=torch.double, requires_grad=True)
    y = x.detach().float().requires_grad_()
    gradient = torch.randn_like(x)
    exact(x).backward(gradient)
    fast(y).backward(gradient.float())
    assert x.grad is not None
    assert y.grad is not None
    assert error(y.grad, x.grad) < 2e-4
    for mine, true in ((fast.first, exact.first), (fast.second, exact.second)):
        assert mine.conv.weight.grad is not None
        assert true.conv.weight.grad is not None
        assert error(mine.conv.weight.grad, true.conv.weight.grad) < 2e-4


def test_many_tiles_are_computed_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = blocks(16)
    x = torch.randn(2, 16, 12, 12, requires_grad=True)
    whole = fast(x)
    (gradient,) = torch.autograd.grad(whole.sum() + whole.square().sum(), x)
    monkeypatch.setattr("cyclegan.networks.kernels.residual.TILES", 5)  # of 18
    parts = fast(x)
    (in_parts,) = torch.autograd.grad(parts.sum() + parts.square().sum(), x)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(in_parts, gradient, rtol=1e-4, atol=1e-4)


def test_the_number_of_threads_does_not_change_the_result() -> None:
    _, fast = blocks(32)
    x = torch.randn(1, 32, 9, 9, requires_grad=True)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = fast(x)
            results.append((y.detach(), *torch.autograd.grad(y.square().sum(), x)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for found, first in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, first, rtol=1e-5, atol=1e-5)


def test_what_is_not_a_number_stays_so() -> None:
    _, fast = blocks(16)
    x = torch.randn(2, 16, 8, 8)
    x[0, 3, 4, 5] = torch.nan
    y = fast(x)
    assert y[0].isnan().all(dim=0).all(), "every output of the picture depends on every pixel, by the norm"
    assert y[1].isfinite().all()


def test_a_large_mean_costs_no_digits() -> None:
    exact, fast = blocks(16)
    x = torch.randn(1, 16, 16, 16, dtype=torch.double) + 100
    assert error(fast(x.float()) - x.float(), exact(x) - x) < 2e-3  # 1e-5 of the 100 that the tiles hold


def test_two_blocks_keep_five_pictures_for_the_way_back() -> None:
    _, fast = blocks(16)
    x = torch.randn(1, 16, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        fast(fast(x))
    assert sum(size for size in kept.values() if size >= x.numel()) == 5 * x.numel()


def test_other_blocks_are_computed_by_torch() -> None:
    x = torch.randn(1, 16, 8, 8)
    assert usable(x)
    assert not usable(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not usable(x)
    assert ResidualBlock(16, "batch", dropout=False).eps is None
    assert ResidualBlock(16, "instance", dropout=True).eps is None
    assert ResidualBlock(24, "instance", dropout=False).eps is None


def test_a_whole_generator_is_the_same_with_and_without() -> None:
    torch.manual_seed(0)
    network = build_generator("resnet_6blocks", channels=8)
    x = torch.rand(2, 3, 40, 36) * 2 - 1
    exact = place_networks(network, CPU, exact=True)(x)
    fast = place_networks(network, CPU, exact=False)(x)
    assert not torch.equal(exact, fast), "the kernels were not used"
    torch.testing.assert_close(fast, exact, rtol=0, atol=2e-5)  # a grey level is 8e-3


@pytest.mark.slow
def test_it_compiles_without_a_break_in_the_graph() -> None:
    _, fast = blocks(16)
    x = torch.randn(1, 16, 8, 8).to(memory_format=torch.channels_last)
    explanation = torch._dynamo.explain(fast)(x)
    assert explanation.graph_break_count == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # asked for by opcheck itself
def test_the_operators_keep_their_promises_to_torch() -> None:
    w = torch.randn(2, 16, 16, 3, 3).unbind()
    x, first, second = (t.to(memory_format=torch.channels_last) for t in (torch.randn(1, 16, 8, 8), *w))
    arguments = (x.requires_grad_(), first.requires_grad_(), second.requires_grad_(), 1e-5)
    torch.library.opcheck(torch.ops.cyclegan.residual_block.default, arguments)
    torch.testing.assert_close(residual_block(*arguments), torch.ops.cyclegan.residual_block(*arguments)[0])
