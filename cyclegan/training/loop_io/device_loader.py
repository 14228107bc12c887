"""Batches on their way from the readers to the device."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cyclegan.data.dataset import build_loader
from cyclegan.methods import Images
from cyclegan.training.loop_io.health import UnreadableImages
from cyclegan.training.resolved_run import ResolvedRun


class DeviceLoader:
    """Draws batches from a loader of pictures, uint8 or float32 in [0, 1], and scales them on `device`."""

    def __init__(
        self, loader: Iterable[dict[str, Any]], device: torch.device, parts: int, unreadable: UnreadableImages
    ) -> None:
        self.source = iter(loader)
        self.device = device
        self.count = parts
        self.unreadable = unreadable
        self.waited = 0.0  # seconds spent in here since the loop last set this to 0

    def __next__(self) -> list[Images]:
        """{"a": …, "b": …} for each part of a batch: float32 NCHW in [-1, 1]."""
        before = time.perf_counter()
        raw = next(self.source)
        self.waited += time.perf_counter() - before
        whole = {name: self._scaled(pictures) for name, pictures in raw.items() if isinstance(pictures, Tensor)}
        pieces = {name: pictures.chunk(self.count) for name, pictures in whole.items()}
        self.unreadable.update(raw["unreadable"], raw["enlarged"])
        return [{name: piece[part] for name, piece in pieces.items()} for part in range(self.count)]

    def _scaled(self, pictures: Tensor) -> Tensor:
        # uint8 crosses to the device: a quarter of the bytes; and nothing waits for the copy
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        moved = pictures.to(self.device, non_blocking=True)
        if moved.dtype == torch.uint8:
            return moved.to(torch.float32, memory_format=layout).div_(127.5).sub_(1.0)
        return moved.contiguous(memory_format=layout).mul(2.0).sub_(1.0)  # the batch is the readers': not written to


def open_batches(run: ResolvedRun, step: int) -> DeviceLoader:
    """The batches of `run` from `step` on, those of this rank."""
    config, ranks = run.config, run.ranks
    share: dict[str, Any] = {"rank": ranks.rank, "world": ranks.world, "pin": run.device.type == "cuda"}
    loader = build_loader(config, run.sets, run.kinds, start=step, stop=run.steps, **share)
    unreadable = UnreadableImages(sum(map(len, run.sets.train.values())), config.crop_size)
    return DeviceLoader(loader, run.device, config.accumulate, unreadable)
