"""Players of the training step that is timed: the textbook, and our package in several settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.textbook import BLOCKS, Textbook
from cyclegan.config import TrainConfig
from cyclegan.errors import lookup
from cyclegan.methods import build_method
from cyclegan.networks import pick_precision
from cyclegan.system.devices import DTYPES, pick_device
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.loop_io.health import UnreadableImages
from cyclegan.training.update.compilation import compile_networks, wanted
from cyclegan.training.update.state import TrainState
from cyclegan.training.update.step import Average, no_average, train_step

BASELINE = "textbook"
LONG = 100_000  # steps of the run that a variant is taken from: long enough for every `auto` to pay
SEED = 0

# Name -> what is said to `cyclegan train` beyond the size; `default` says nothing.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "fp32-eager": {"precision": "fp32", "compile": "off"},
    "fp32-compile": {"precision": "fp32", "compile": "on"},
    "bf16-eager": {"precision": "bf16", "compile": "off"},
    "bf16-compile": {"precision": "bf16", "compile": "on"},
    "checkpointed": {"checkpoint_activations": True},
}


@dataclass(frozen=True)
class Workload:
    """What every player computes: the same networks, of the same weights, on the same pictures."""

    size: int  # pixels a side, a multiple of 4
    channels: int
    generator: str
    batch_size: int
    device: str  # as --device

    def config(self, **changes: Any) -> TrainConfig:
        """The configuration of a long run of this size, with `changes`."""
        return TrainConfig(
            generator=self.generator,
            channels=self.channels,
            load_size=self.size,
            crop_size=self.size,
            batch_size=self.batch_size,
            device=self.device,
            steps=LONG,
            seed=SEED,
            **changes,
        )

    def pictures(self) -> dict[str, Any]:
        """A batch as the data pipeline hands it on: smooth uint8 NCHW pictures, the same every time."""
        generator = torch.Generator().manual_seed(SEED)

        def draw() -> Tensor:
            coarse = torch.rand(self.batch_size, 3, 8, 8, generator=generator)
            fine = torch.nn.functional.interpolate(coarse, self.size, mode="bicubic", align_corners=False)
            return (fine.clamp(0, 1) * 255).round().to(torch.uint8)

        return {"a": draw(), "b": draw(), "unreadable": [], "enlarged": []}

    def blocks(self) -> int:
        """The residual blocks of the generator; `UsageError` for one that the textbook does not have."""
        return lookup(BLOCKS, self.generator, "--generator")

    def __str__(self) -> str:
        return f"{self.generator} × {self.channels}, {self.size}², batch {self.batch_size}"


class Player(Protocol):
    """One way to play the step."""

    precision: str  # of its convolutions, a key of DTYPES

    def step(self, number: int) -> dict[str, Tensor]:
        """Play step `number`, counted from 1: its losses, still on the device. What is random follows from it."""


class TextbookPlayer:
    """The baseline, with the weights that our method starts from."""

    precision = "fp32"

    def __init__(self, workload: Workload) -> None:
        device = pick_device(workload.device)
        self.game = Textbook(channels=workload.channels, blocks=workload.blocks(), device=device)
        torch.manual_seed(SEED)
        self.game.load_ours(build_method(workload.config()))
        raw = workload.pictures()
        self.real_a, self.real_b = (raw[domain].to(device).float() / 127.5 - 1 for domain in "ab")

    def step(self, number: int) -> dict[str, Tensor]:
        """As `Player` says."""
        torch.manual_seed(SEED + number)
        return self.game.step(self.real_a, self.real_b)


class Ours:
    """The step as the training loop plays it, in a process that it may arrange to its liking."""

    def __init__(self, config: TrainConfig, raw: dict[str, Any]) -> None:
        device = pick_device(config.device)
        dtype = pick_precision(config.precision, device)
        self.precision = next(name for name, known in DTYPES.items() if known == dtype)
        assert config.steps is not None
        torch.manual_seed(config.seed)
        self.state = TrainState(build_method(config), replace(config, decay_steps=0), device, dtype)
        self.method, self.amp = self.state.method, self.state.precision
        self.sides = self.state.generators, self.state.discriminators
        if wanted(config.compile, device, config.steps):
            compile_networks(self.method, device)
        self.parts = next(DeviceLoader([raw], device, config.accumulate, UnreadableImages(1, config.crop_size)))

    def step(self, number: int, average: Average = no_average) -> dict[str, Tensor]:
        """As `Player` says; `average` averages gradients with those of other processes."""
        torch.manual_seed(SEED + number)
        generators, discriminators = self.sides
        figures = train_step(self.method, generators, discriminators, self.parts, self.amp, average).figures
        return {name.removeprefix("loss/"): value for name, value in figures.items() if name.startswith("loss/")}


def build_ours(workload: Workload, changes: Mapping[str, Any]) -> Ours:
    """Our package as `cyclegan train` with the settings `changes` plays it; `UsageError` for what the device lacks."""
    return Ours(workload.config(**changes), workload.pictures())


def build_player(name: str, workload: Workload) -> Player:
    """The textbook, or the variant called `name`; `UsageError` names the known ones."""
    makers = {BASELINE: TextbookPlayer} | {
        variant: partial(build_ours, changes=changes) for variant, changes in VARIANTS.items()
    }
    return lookup(makers, name, "--variants")(workload)


def step_flops(workload: Workload) -> int:
    """Floating-point operations of a step as the textbook does it, without computing one: by shapes alone.

    These are what the mathematics asks for: every forward, and of the gradients those that somebody uses. A form that
    needs fewer (Winograd's convolution, say) may pass the ceiling of those that do not.
    """
    game = Textbook(channels=workload.channels, blocks=workload.blocks(), device="meta")
    pictures = torch.empty(workload.batch_size, 3, workload.size, workload.size, device="meta")
    with FlopCounterMode(display=False) as counter:
        game.step(pictures, pictures)
    return int(counter.get_total_flops())
