"""The residual generator against what is published about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cyclegan.networks import build_generator
from cyclegan.networks.resnet import ResNetGenerator


def test_nine_blocks_of_width_64_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = ResNetGenerator(blocks=9)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_378_179


def test_the_names_of_its_weights_do_not_change_since_files_depend_on_them() -> None:
    names = list(build_generator("resnet_6blocks", channels=2).state_dict())
    assert names[:6] == [
        f"{module}.{leaf}" for module in ("stem.conv", "down.0.conv", "down.1.conv") for leaf in ("weight", "bias")
    ]
    assert names[6:30:4] == [f"blocks.{number}.first.conv.weight" for number in range(6)]
    assert names[8:30:4] == [f"blocks.{number}.second.conv.weight" for number in range(6)]
    assert names[30::2] == ["up.0.conv.weight", "up.1.conv.weight", "head.weight"]
    assert len(names) == 36


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("size", [(1, 1), (2, 37), (8, 8), (33, 30)])
def test_any_size_comes_out_as_it_went_in(size: tuple[int, int], upsampling: str) -> None:
    network = build_generator("resnet_6blocks", channels=2, upsampling=upsampling)
    y = network(torch.randn(1, 3, *size))
    assert y.shape == (1, 3, *size)
    assert y.abs().max() <= 1


def test_channels_in_and_out_are_free() -> None:
    network = build_generator("resnet_6blocks", channels=2, in_channels=1, out_channels=5)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 5, 8, 8)


def test_a_block_whose_convolutions_are_zero_passes_its_input_on() -> None:
    network: Any = build_generator("resnet_6blocks", channels=2)
    block = network.blocks[0]
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_dropout_acts_in_training_only() -> None:
    network = build_generator("resnet_6blocks", channels=4, dropout=True)
    x = torch.randn(1, 3, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_a_picture_does_not_depend_on_the_others_in_its_batch() -> None:
    network = build_generator("resnet_6blocks", channels=4)
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)
