"""Digests of what a few tiny runs compute, to show that a refactoring changed nothing.

    python -m tests.proof            prints them as JSON: of every figure and of every tensor in the last state
    python -m tests.proof --check    compares them with tests/proof.json, exit code 1 where they differ
    python -m tests.proof --write    keeps them there

Sums depend on the processor and on the version of torch, so that what is kept holds for the machine it names.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

KEPT = Path(__file__).with_name("proof.json")
STEPS = 20
STOP = 12  # where the second half goes on from a state
BASE: dict[str, Any] = {
    "generator": "resnet_6blocks",
    "channels": 2,
    "load_size": 36,
    "crop_size": 32,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "compile": "off",
    "wandb": "disabled",
    "log_every": 1,
    "sample_every": 10,
    "samples": 2,
    "holdout": 0.0,
    "evaluate_every": 0,
    "decay_steps": 10,
    "seed": 3,
}
CASES: dict[str, dict[str, Any]] = {
    "identity": {},
    "pool": {"options": {"pool_size": 3, "lambda_identity": 0.0}},
    "accumulate": {"batch_size": 4, "accumulate": 2, "options": {"pool_size": 6}},
    "wgan-gp": {"options": {"adversarial": "wgan-gp", "pool_size": 0}},
    "ema": {"ema_decay": 0.9, "discriminator": "multiscale", "spectral_norm": True, "load_size": 48, "crop_size": 48},
    "unet": {"generator": "unet_128", "crop_size": 128, "load_size": 128, "norm": "batch", "dropout": True},
    "augmented": {"upsampling": "resize", "options": {"diffaug": "color,cutout", "r1": 1.0, "cycle_noise": 4.0}},
    "grey": {"kind": "grey"},
    "deep": {"kind": "deep", "range": "minmax"},
}


def pictures(folder: Path, kind: str) -> dict[str, str]:
    """Draw five pictures of A and four of B, the same every time: `rgb`, `grey` or `deep` (16 bits)."""
    for name, count in (("a", 5), ("b", 4)):
        (folder / name).mkdir(parents=True)
        rng = np.random.default_rng(ord(name))
        for number in range(count):
            if kind == "deep":
                pixels = rng.integers(0, 60000, (40, 40), dtype=np.uint16)
            else:
                pixels = rng.integers(0, 256, (40, 40) if kind == "grey" else (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return {name: str(folder / name) for name in "ab"}


def digest(values: dict[str, Any]) -> str:
    """One hash over named numbers and tensors, whatever their order."""
    total = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        raw = value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode()
        total.update(name.encode() + b"=" + raw)
    return total.hexdigest()[:16]


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in a nested state, by the path of its keys."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from tensors(inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from tensors(inner, f"{name}.{number}")


def prove(name: str, folder: Path) -> dict[str, str]:
    """Train the case called `name` in `folder`, in two starts, and digest what it computed."""
    from safetensors.torch import load_file

    from cyclegan.config import TrainConfig
    from cyclegan.training import train

    values = BASE | CASES[name]
    values |= pictures(folder, values.pop("kind", "rgb"))
    for steps in (STOP, STEPS):
        decay = min(values["decay_steps"], steps - 10)
        run = train(TrainConfig(**(values | {"steps": steps, "decay_steps": decay})), folder / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figures = {
        f"{row['step']}/{key}": value
        for row in rows
        for key, value in row.items()
        if isinstance(value, int | float) and not key.startswith(("speed/", "memory/", "_", "time"))
    }
    state = torch.load(run / f"checkpoints/state-{STEPS:08d}.pt", weights_only=True)
    grids = {path.name: path.read_bytes().hex() for path in (run / "samples").glob("*.png")}
    return {
        "figures": digest(figures),
        "state": digest(dict(tensors(state))),
        "generators": digest(dict(load_file(run / f"checkpoints/generators-{STEPS:08d}.safetensors"))),
        "grids": digest(grids),
    }


def machine() -> dict[str, str]:
    """That on which sums come out alike."""
    return {"processor": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__, "model": _processor()}


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def main() -> int:
    """Run as the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", choices=CASES, action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": machine()}
    for name in arguments.only or CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = prove(name, Path(folder))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if arguments.write:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
    if not arguments.check:
        return 0
    kept = json.loads(KEPT.read_text())
    wrong = [name for name in found if found[name] != kept[name]]
    sys.stdout.write(f"differs: {', '.join(wrong)}\n" if wrong else "the same\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
