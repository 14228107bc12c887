"""The U-Net generator against what is published about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cyclegan.networks import build_generator
from cyclegan.networks.unet import UNetGenerator


@pytest.mark.parametrize(("depth", "parameters"), [(8, 54_413_955), (7, 41_828_995)])
def test_width_64_with_batch_norm_has_the_published_number_of_parameters(depth: int, parameters: int) -> None:
    """54.414 million is what logs of pix2pix by its authors' program show."""
    with torch.device("meta"):
        network = UNetGenerator(depth=depth, norm="batch")
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_names_of_its_weights_do_not_change_since_files_depend_on_them() -> None:
    names = [name for name in build_generator("unet_128", channels=1).state_dict() if name.endswith(".weight")]
    assert names == [
        *(f"down.{level}.conv.weight" for level in range(7)),
        *(f"up.{stage}.conv.weight" for stage in range(6)),
        "head.weight",
    ]


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("size", [(1, 1), (100, 130)])
def test_any_size_comes_out_as_it_went_in(size: tuple[int, int], upsampling: str) -> None:
    network: Any = build_generator("unet_128", channels=1, upsampling=upsampling)
    y = network(torch.randn(1, 3, *size))
    assert y.shape == (1, 3, *size)
    assert y.abs().max() <= 1


@pytest.mark.parametrize(("name", "side"), [("unet_128", 128), ("unet_256", 256)])
def test_it_halves_down_to_a_single_pixel(name: str, side: int) -> None:
    network: Any = build_generator(name, channels=1)
    sizes = []
    network.down[-1].register_forward_hook(lambda *call: sizes.append(call[2].shape[-2:]))
    network(torch.zeros(1, 3, side, side))
    assert sizes == [(1, 1)]


def test_the_outermost_skip_carries_the_edges_of_the_picture_past_everything_inside() -> None:
    network: Any = build_generator("unet_128", channels=2).eval()
    for stage in network.up:
        nn.init.zeros_(stage.conv.weight)
    nn.init.normal_(network.head.weight)
    x = torch.randn(1, 3, 128, 128, requires_grad=True)
    assert network(x)[0, 0, 64, 64].abs() > 0
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 64, 64], x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert 0 < rows.max() - rows.min() < 8  # nothing from farther away, since the inside is silent


def test_dropout_sits_in_the_inner_stages_and_acts_in_training_only() -> None:
    network: Any = build_generator("unet_256", channels=1, dropout=True)
    with_dropout = [isinstance(stage.dropout, nn.Dropout) for stage in network.up]
    assert with_dropout == [False, True, True, True, False, False, False]
