"""Small models for tests of what is done with models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cyclegan.models import save_model
from cyclegan.networks import Generator, build_discriminator, build_generator
from cyclegan.system.files import file_sha256

CONFIG = {"method": "cyclegan", "load_size": 40, "crop_size": 32, "a": "/somewhere/horses", "b": "/somewhere/zebras"}
NETWORKS = {"discriminator": "patch", "channels": 2, "norm": "instance", "spectral_norm": False}
INFO = {"step": 7, "method": "cyclegan", "load_size": 40, "crop_size": 32, "a": "horses", "b": "zebras"}


def generator(seed: int = 0, name: str = "resnet_6blocks", **options: Any) -> Generator:
    """A narrow generator; initialised so that its pictures are not all alike."""
    torch.manual_seed(seed)
    return build_generator(name, **{"channels": 2, "init": "xavier", **options}).eval()


def generators(seed: int = 0, **options: Any) -> dict[str, Generator]:
    """One for each direction."""
    return {"ab": generator(seed, **options), "ba": generator(seed + 1, **options)}


def generators_file(path: Path, seed: int = 0, **options: Any) -> Path:
    """A generators file of `generators(seed)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, generators(seed, **options), info=INFO)
    return path


def state(seed: int = 0, step: int = 7, *, average: int | None = None, **options: Any) -> dict[str, Any]:
    """What a training state holds of a model, with averaged weights of `generators(average)` if given."""
    networks = generators(seed, **options)
    players = {
        f"generators.{way}.{name}": value
        for way, network in networks.items()
        for name, value in network.state_dict().items()
    }
    torch.manual_seed(seed)
    for domain in ("a", "b"):
        judge = build_discriminator("patch", channels=2)
        players |= {f"discriminators.{domain}.{name}": value for name, value in judge.state_dict().items()}
    averaged = {} if average is None else generators(average, **options)
    return {
        "format": "cyclegan-state",
        "version": 1,
        "step": step,
        "config": CONFIG | NETWORKS,
        "method": players,
        "generator_specs": {way: network.spec for way, network in networks.items()},
        "ema": {f"{way}.{k}": v for way, network in averaged.items() for k, v in network.state_dict().items()},
    }


def state_file(path: Path, content: Any, *, checksum: bool = True) -> Path:
    """`content` saved as a state with its checksum beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    if checksum:
        path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    return path


def same(one: Generator, other: Generator) -> bool:
    """Whether two networks hold the same weights, bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
