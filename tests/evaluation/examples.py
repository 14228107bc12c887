"""Pictures of two domains that a judge can tell apart, networks whose results are known, and files of networks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.images import list_images


def draw(kind: str, seed: int, side: int = 64) -> np.ndarray:
    """Grey-brown pictures with a light in them; those of "b" have stripes."""
    rng = np.random.default_rng([ord(kind[0]), seed])
    y, x = np.mgrid[:side, :side] / side
    light = 110 + 60 * np.cos(3 * (x - rng.random())) * np.cos(3 * (y - rng.random()))
    picture = light[..., None] * rng.uniform(0.7, 1.2, 3) + rng.normal(0, 4, (side, side, 3))
    if kind == "b":
        angle = rng.uniform(-0.5, 0.5)
        picture *= 0.75 + 0.25 * np.sign(np.sin(2 * np.pi * 8 * (x + angle * y + rng.random())))[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def folder(path: Path, kind: str, count: int, *, start: int = 0, side: int = 64, suffix: str = ".png") -> Path:
    """`count` pictures of a domain, of which no two seeds are alike."""
    path.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        Image.fromarray(draw(kind, number, side)).save(path / f"{number:03d}{suffix}")
    return path


def squares(path: Path, size: int) -> ImageSet:
    """The pictures in a folder, as an evaluation sees them."""
    return ImageSet(path, list_images(path), size)


def data_set(root: Path, *, train: int = 40, test: int = 8, side: int = 64) -> Path:
    """trainA, trainB, testA, testB below `root`."""
    for kind in "ab":
        folder(root / f"train{kind.upper()}", kind, train, side=side)
        folder(root / f"test{kind.upper()}", kind, test, start=1000, side=side)
    return root


def colours() -> Extractor:
    """Mean and spread of each channel as features: quick, and sensitive to light."""

    def features(x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)

    return Extractor("colours", "0" * 64, "as they are", features, lambda pictures: pictures.float() / 255)


class Engine:
    """A translator that computes a function of NCHW in [-1, 1]."""

    def __init__(self, function: object) -> None:
        self.function = function
        self.device = torch.device("cpu")

    def unit(self, batch: Tensor) -> Tensor:
        return self.function(batch)  # type: ignore[operator]


class Small(nn.Module):
    """Three channels to four features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def script_file(path: Path, network: nn.Module | None = None) -> Path:
    """A TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript will go
        torch.jit.save(torch.jit.script((network or Small()).eval()), path)
    return path


def export_file(path: Path) -> Path:
    """A torch.export file for any number of pictures of any size."""
    free = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    program = torch.export.export(Small().eval(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=({**free},))
    torch.export.save(program, path)
    return path
