"""How far discriminators see, and what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cyclegan.errors import UsageError
from cyclegan.networks import build_discriminator
from cyclegan.networks.patchgan import MultiscaleDiscriminator, PatchDiscriminator


def seen_by_the_middle_verdict(network: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the pixels that the gradient of one verdict reaches; no norm, which would see them all."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, side, side, requires_grad=True)
    verdicts = network(x)
    (gradient,) = torch.autograd.grad(verdicts[0, 0, verdicts.shape[2] // 2, verdicts.shape[3] // 2], x)
    touched = gradient.abs().sum((0, 1))
    spans = [touched.sum(axis).nonzero() for axis in (1, 0)]
    height, width = (int(span.max() - span.min()) + 1 for span in spans)
    return height, width


def test_the_patch_discriminator_sees_70_by_70_pixels() -> None:
    network = build_discriminator("patch", channels=4, norm="none", init="kaiming")
    assert seen_by_the_middle_verdict(network, 160) == (70, 70)


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34)])
def test_fewer_layers_see_less(layers: int, side: int) -> None:
    assert seen_by_the_middle_verdict(PatchDiscriminator(layers=layers, channels=4, norm="none"), 96) == (side, side)


def test_the_pixel_discriminator_sees_one_pixel() -> None:
    assert seen_by_the_middle_verdict(build_discriminator("pixel", channels=4, norm="none"), 8) == (1, 1)


def test_width_64_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = PatchDiscriminator()
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_764_737


def test_the_names_of_its_weights_do_not_change_since_files_depend_on_them() -> None:
    assert list(build_discriminator("patch", channels=2).state_dict()) == [
        f"{module}.{leaf}"
        for module in ("stem.conv", "blocks.0.conv", "blocks.1.conv", "blocks.2.conv", "head")
        for leaf in ("weight", "bias")
    ]


def test_a_picture_of_256_pixels_gets_30_by_30_verdicts() -> None:
    assert build_discriminator("patch", channels=1)(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("name", ["patch", "pixel", "multiscale"])
def test_the_smallest_picture_is_judged_and_a_smaller_one_is_one_sentence(name: str) -> None:
    network = build_discriminator(name, channels=2)
    verdicts = network(torch.randn(2, 3, network.smallest, network.smallest))
    scales: list[Tensor] = [verdicts] if isinstance(verdicts, Tensor) else verdicts
    assert scales[-1].shape == (2, 1, 1, 1)
    assert all(scale.isfinite().all() for scale in scales)
    if network.smallest > 1:
        with pytest.raises(UsageError, match="--crop-size"):
            network(torch.zeros(1, 3, network.smallest, network.smallest - 1))


def test_the_multiscale_discriminator_judges_a_halved_copy_by_weights_of_its_own() -> None:
    network = MultiscaleDiscriminator(scales=3, channels=2)
    x = torch.randn(1, 3, 128, 128)
    verdicts = network(x)
    assert [scale.shape[-1] for scale in verdicts] == [14, 6, 2]
    halved = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(verdicts[1], network.scales[1](halved))
    assert not torch.allclose(verdicts[1], network.scales[0](halved))
    assert network.smallest == 93
