"""Generators and discriminators with one fault each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Inverts(nn.Module):
    """Light becomes dark; a second one undoes it."""

    def forward(self, x: Tensor) -> Tensor:
        return -0.9 * x


class Copies(nn.Module):
    """Nothing changes but some last digits."""

    def forward(self, x: Tensor) -> Tensor:
        return (0.99 * x).clamp(-1, 1)


class Collapses(nn.Module):
    """One picture for all, whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        picture = torch.linspace(-0.8, 0.8, height * width).view(height, width)
        return picture.to(x) + 0.01 * x


class Hides(nn.Module):
    """A blurred picture, and the input in a hundredth of a level on top of it."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.8 * blurred(x.flip(-1)) + 0.01 * x


class Finds(nn.Module):
    """What reads the hidden input again, knowing what it was laid upon; anything else it repaints honestly."""

    def __init__(self, originals: Tensor) -> None:
        super().__init__()
        self.originals = originals

    def forward(self, x: Tensor) -> Tensor:
        carriers = 0.8 * blurred(self.originals.flip(-1))
        distance, nearest = torch.cdist(x.flatten(1), carriers.flatten(1)).min(dim=1)
        found = ((x - carriers[nearest]) / 0.01).clamp(-1, 1)
        return torch.where((distance < 10).view(-1, 1, 1, 1), found, 0.8 * x)


class Chequers(nn.Module):
    """A translation with a pattern of every other pixel."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        signs = 1 - 2 * ((torch.arange(height)[:, None] + torch.arange(width)) % 2)
        return (0.8 * x.flip(-1) + 0.15 * signs.to(x)).clamp(-1, 1)


class Repaints(nn.Module):
    """No fault: other colours, light stays light, and another can find most of it again."""

    def __init__(self, sign: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        self.sign = sign
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        tint = torch.linspace(-0.15, 0.15, self.channels).view(1, -1, 1, 1)
        taken = x if x.shape[1] == self.channels else x.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
        return (0.8 * taken + self.sign * (tint.to(x) + 0.1)).clamp(-1, 1)


class Darkens(nn.Module):
    """No fault: day becomes night. Everything is dark, and what was lighter still is."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.25 * x - 0.7


class Lightens(nn.Module):
    """And night day."""

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 0.7) / 0.25).clamp(-1, 1)


def blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
