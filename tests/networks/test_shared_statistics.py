"""Parts of a picture with the statistics of the whole, against the whole."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from cyclegan.networks import build_generator, place_networks
from cyclegan.networks.kernels.build import load_kernels
from cyclegan.networks.layers import Generator, InstanceNorm
from cyclegan.networks.shared_statistics import NormWindow, SharedStatistics, Sums

CPU = torch.device("cpu")
needs_kernels = pytest.mark.skipif(load_kernels() is None, reason="needs a C compiler")


def generator(name: str = "resnet_6blocks", **settings: object) -> Generator:
    torch.manual_seed(1)
    return build_generator(name, channels=4, init="kaiming", **settings).double().eval()


def picture(height: int = 64, width: int = 48, count: int = 1) -> Tensor:
    torch.manual_seed(2)
    return torch.rand(count, 3, height, width, dtype=torch.double) * 2 - 1


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def pooled(shared: SharedStatistics, x: Tensor, windows: list[NormWindow] | None = None) -> Tensor:
    height, width = x.shape[-2:]
    with shared.pooling((height, width), windows or [NormWindow(0, 0, height, width)] * len(x)):
        made: Tensor = shared.network(x)
    return made


@pytest.mark.parametrize("name", ["resnet_6blocks", "unet_128"])
def test_the_statistics_of_the_whole_give_what_the_whole_gives_and_again(name: str) -> None:
    network, x = generator(name), picture(128, 128)
    shared = SharedStatistics(network)
    whole = network(x)
    torch.testing.assert_close(pooled(shared, x), whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(shared.network(x), whole, rtol=0, atol=1e-9)


def test_parts_whose_windows_cover_the_picture_have_the_statistics_of_the_whole() -> None:
    """With a halo of 84 pixels: what six blocks see around them; nothing mirrored reaches the windows."""
    network, x = generator(), picture(216, 24)
    shared = SharedStatistics(network)
    parts = torch.cat([x[:, :, :192], x[:, :, 24:]])
    pooled(shared, parts, [NormWindow(0, 0, 108, 24), NormWindow(84, 0, 192, 24)])
    torch.testing.assert_close(shared.network(x), network(x), rtol=0, atol=1e-4)


def test_a_window_keeps_out_what_lies_beside_it() -> None:
    network, x = generator(), picture(64, 32)
    one, other = SharedStatistics(network), SharedStatistics(network)
    y = x.clone()
    y[:, :, 48:] = 1
    window = [NormWindow(0, 0, 32, 32)]
    pooled(one, x, window)
    pooled(other, y, window)
    first = next(iter(one.norms)), next(iter(other.norms))
    torch.testing.assert_close(first[0].mean, first[1].mean)


def test_given_statistics_make_parts_equal_to_the_whole_inside() -> None:
    network, x = generator(), picture(256, 16)
    shared = SharedStatistics(network)
    whole = pooled(shared, x)
    for top, bottom in ((0, 192), (64, 256), (32, 232)):
        part = shared.network(x[:, :, top:bottom])
        inside = slice(84 if top else 0, bottom - top - (84 if bottom < 256 else 0))
        expected = whole[:, :, top:bottom][:, :, inside]
        torch.testing.assert_close(part[:, :, inside], expected, rtol=0, atol=1e-9)


def test_corrections_lead_from_the_statistics_of_a_part_to_those_of_the_whole() -> None:
    """The whole is collected from, as one tile, and pieces of it are pooled: the law is that the whole remains."""
    network, x = generator(), picture(96, 96)
    shared = SharedStatistics(network)
    whole = network(x)
    pieces = torch.cat([x[:, :, top : top + 48, left : left + 48] for top in (0, 48) for left in (0, 48)])
    pooled(shared, pieces)
    before = (shared.network(x) - whole).abs().max()
    distances = []
    for _ in range(8):
        with shared.collecting((96, 96), [NormWindow(0, 0, 96, 96)]):
            shared.network(x)
        distances.append(shared.correct())
        pooled(shared, pieces)
    assert (shared.network(x) - whole).abs().max() < 1e-4 < before
    assert distances[-1] < 1e-4 < distances[0]


@needs_kernels
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_the_kernels_agree_with_the_layers(upsampling: str) -> None:
    torch.manual_seed(0)
    plain = build_generator("resnet_6blocks", channels=8, init="kaiming", upsampling=upsampling).eval()
    fast = build_generator("resnet_6blocks", channels=8, init="kaiming", upsampling=upsampling).eval()
    fast.load_state_dict(plain.state_dict())
    place_networks(fast, CPU, exact=False)
    slow_one, fast_one = SharedStatistics(plain), SharedStatistics(fast)
    x = picture(32, 40, 2).float()
    windows = [NormWindow(0, 0, 24, 40), NormWindow(8, 8, 32, 40)]
    torch.testing.assert_close(pooled(fast_one, x, windows), pooled(slow_one, x, windows), rtol=0, atol=1e-3)
    for mine, true in zip(fast_one.norms, slow_one.norms, strict=True):
        assert mine.variance is not None
        assert true.variance is not None
        torch.testing.assert_close(mine.variance, true.variance, rtol=1e-3, atol=1e-5)


def test_the_generator_itself_is_left_as_it_is_in_an_error_too() -> None:
    network, x = generator(), picture()
    network.train()
    before = network(x)
    shared = SharedStatistics(network)
    with (
        pytest.raises(RuntimeError, match="channels"),
        shared.pooling((64, 48), [NormWindow(0, 0, 64, 48)]),
    ):
        shared.network(x[:, :2])
    pooled(shared, x)
    assert network.training
    assert all(type(part) is not type(shared.norms[0]) for part in network.modules())
    torch.testing.assert_close(network(x), before)
    after = shared.network(x * 0.5)  # collects no more, and does not pool
    assert all(norm.sums is None for norm in shared.norms)
    assert (after - network(x * 0.5)).abs().max() > 0.01


def test_the_weights_are_the_same_memory() -> None:
    network = generator()
    shared = SharedStatistics(network)
    mine, theirs = ({id(weight) for weight in part.parameters()} for part in (shared.network, network))
    assert mine == theirs


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_other_norms_have_nothing_to_share(norm: str) -> None:
    network, x = generator(norm=norm), picture()
    shared = SharedStatistics(network)
    assert not shared.norms
    torch.testing.assert_close(shared.network(x), network(x))


def test_sums_are_taken_in_parts_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan.networks.shared_statistics.CHUNK", 7)
    x = torch.randn(3, 5, 4) + 1000
    sums = Sums.empty(3, CPU)
    sums.add(x[:, :2])
    sums.add(x[:, 2:])
    mean, variance = sums.mean_and_variance()
    exact = x.double()
    torch.testing.assert_close(mean, exact.mean((1, 2)))
    torch.testing.assert_close(variance, exact.var((1, 2), correction=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_statistics_are_fp32_and_the_result_has_the_type_of_the_input(dtype: torch.dtype) -> None:
    holder: Callable[..., nn.Module] = nn.Sequential
    shared = SharedStatistics(holder(InstanceNorm(2)))
    x = (torch.randn(1, 2, 16, 16) + 30).to(dtype)
    made = pooled(shared, x)
    assert made.dtype == dtype
    assert shared.norms[0].mean is not None
    assert shared.norms[0].mean.dtype == torch.float32
    torch.testing.assert_close(made, InstanceNorm(2)(x), rtol=0.02, atol=0.05)
