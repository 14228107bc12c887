"""The reference implementation's networks, written down independently of ours.

They are the `Sequential`s whose numbers stand in the published files, and know nothing of `cyclegan.networks`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MakeNorm = Callable[[int], nn.Module]
REFERENCE_NORMS: dict[str, tuple[MakeNorm, bool]] = {
    "instance": (nn.InstanceNorm2d, True),
    "batch": (nn.BatchNorm2d, False),
    "none": (lambda channels: nn.Identity(), False),
}


class Residual(nn.Module):
    def __init__(self, width: int, norm: MakeNorm, bias: bool, dropout: bool) -> None:
        super().__init__()
        layers = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm(width), nn.ReLU()]
        layers += [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(
            *layers, nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Wrapped(nn.Module):
    """A `Sequential` under the name it has in the files."""

    def __init__(self, name: str, *layers: nn.Module) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        return next(self.children())(x)


def reference_resnet(
    blocks: int, width: int, kind: str = "instance", dropout: bool = False, inputs: int = 3, outputs: int = 3
) -> nn.Module:
    norm, bias = REFERENCE_NORMS[kind]
    up: list[nn.Module] = []
    for wide in (4 * width, 2 * width):
        up += [nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, output_padding=1, bias=bias), norm(wide // 2), nn.ReLU()]
    return Wrapped(
        "model",
        *(nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias), norm(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm(2 * width), nn.ReLU()),
        *(nn.Conv2d(2 * width, 4 * width, 3, 2, 1, bias=bias), norm(4 * width), nn.ReLU()),
        *(Residual(4 * width, norm, bias, dropout) for _ in range(blocks)),
        *up,
        *(nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()),
    )


class Skip(nn.Module):
    """One level of the U-Net with all inner ones in it; its leaky ReLU works in place, on what the skip carries too."""

    def __init__(self, outer: int, inner: int, inside: nn.Module | None, norm: MakeNorm, bias: bool) -> None:
        super().__init__()
        down = [nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        width = inner if inside is None else 2 * inner
        up = [nn.ReLU(inplace=True), nn.ConvTranspose2d(width, outer, 4, 2, 1, bias=bias), norm(outer)]
        self.model = nn.Sequential(*down, *([] if inside is None else [norm(inner), inside]), *up)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)


class UNet(nn.Module):
    def __init__(self, depth: int, width: int, kind: str) -> None:
        super().__init__()
        norm, bias = REFERENCE_NORMS[kind]
        widths = [width * min(2**level, 8) for level in range(depth)]
        block: nn.Module | None = None
        for level in range(depth - 1, 0, -1):
            block = Skip(widths[level - 1], widths[level], block, norm, bias)
        assert block is not None
        first, last = nn.Conv2d(3, width, 4, 2, 1, bias=bias), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1)
        self.model = Wrapped("model", first, block, nn.ReLU(inplace=True), last, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def reference_patch(layers: int, width: int, kind: str = "instance") -> nn.Module:
    norm, bias = REFERENCE_NORMS[kind]
    stack: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    widths = [width * min(2**level, 8) for level in range(layers + 1)]
    for level in range(1, layers + 1):
        stride = 2 if level < layers else 1
        stack += [nn.Conv2d(widths[level - 1], widths[level], 4, stride, 1, bias=bias)]
        stack += [norm(widths[level]), nn.LeakyReLU(0.2)]
    return Wrapped("model", *stack, nn.Conv2d(widths[-1], 1, 4, 1, 1))


def reference_pixel(width: int, kind: str) -> nn.Module:
    norm, bias = REFERENCE_NORMS[kind]
    inner = [nn.Conv2d(width, 2 * width, 1, bias=bias), norm(2 * width), nn.LeakyReLU(0.2)]
    return Wrapped("net", nn.Conv2d(3, width, 1), nn.LeakyReLU(0.2), *inner, nn.Conv2d(2 * width, 1, 1, bias=bias))
