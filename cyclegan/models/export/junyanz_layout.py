"""Module names in the reference implementation: one table per network, used both ways.

Its networks are `Sequential`, so modules are numbered, including layers without weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from cyclegan.networks.patchgan import PatchDiscriminator, PixelDiscriminator
from cyclegan.networks.resnet import ResNetGenerator
from cyclegan.networks.unet import UNetGenerator

Layout = dict[str, str]  # our module name -> theirs


def _resnet(network: Any) -> Layout:
    """Padding, convolution, norm and ReLU are numbered consecutively; so is dropout within its block."""
    blocks = len(network.blocks)
    second = 5 + any(isinstance(module, nn.Dropout) for module in network.modules())
    layout = _block("stem", "model", 1) | _block("down.0", "model", 4) | _block("down.1", "model", 7)
    for number in range(blocks):
        theirs = f"model.{10 + number}.conv_block"
        layout |= _block(f"blocks.{number}.first", theirs, 1) | _block(f"blocks.{number}.second", theirs, second)
    after = 10 + blocks
    layout |= _block("up.0", "model", after) | _block("up.1", "model", after + 3)
    return layout | {"head": f"model.{after + 7}"}


def _unet(network: Any) -> Layout:
    """Each stage contains the next inner one: (activation, down, norm, inner, activation, up, norm)."""
    depth = len(network.down)
    layout = {"down.0.conv": "model.model.0", "head": "model.model.3"}
    theirs = "model.model.1.model"
    for level in range(1, depth):
        innermost = level == depth - 1  # nothing inside, no norm on the way down
        layout |= _block(f"down.{level}", theirs, 1)
        layout |= _block(f"up.{depth - 1 - level}", theirs, 3 if innermost else 5)
        theirs += ".3.model"
    return layout


def _patch(network: Any) -> Layout:
    layers = len(network.blocks)
    layout = {"stem.conv": "model.0", "head": f"model.{2 + 3 * layers}"}
    for number in range(layers):
        layout |= _block(f"blocks.{number}", "model", 2 + 3 * number)
    return layout


def _pixel(network: Any) -> Layout:
    return {"stem.conv": "net.0", "head": "net.5"} | _block("blocks.0", "net", 2)


LAYOUTS: dict[type[nn.Module], Callable[[Any], Layout]] = {
    ResNetGenerator: _resnet,
    UNetGenerator: _unet,
    PatchDiscriminator: _patch,
    PixelDiscriminator: _pixel,
}


def _block(ours: str, theirs: str, number: int) -> Layout:
    return {f"{ours}.conv": f"{theirs}.{number}", f"{ours}.norm": f"{theirs}.{number + 1}"}


def translate_names(names: Iterable[str], network: nn.Module) -> dict[str, str]:
    """Map our names of parameters and buffers to theirs."""
    layout = LAYOUTS[type(network)](network)
    split = {name: name.rsplit(".", 1) for name in names}
    return {name: f"{layout[module]}.{leaf}" for name, (module, leaf) in split.items()}
