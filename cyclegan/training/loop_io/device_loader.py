"""Batches on their way from the readers to the device, and the time the loop spends waiting for them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cyclegan.methods import Images


@dataclass(frozen=True)
class Batch:
    """One batch on the device."""

    parts: list[Images]  # {"a": …, "b": …}, float32 NCHW in [-1, 1], in equal parts
    unreadable: list[tuple[str, str]]  # (path, reason) of pictures that another one stands in for
    enlarged: list[tuple[str, str]]  # (path, size) of pictures that were smaller than the crop


class DeviceLoader:
    """Draws batches from a loader of pictures, uint8 or float32 in [0, 1], and scales them on `device`."""

    def __init__(self, loader: Iterable[dict[str, Any]], device: torch.device, parts: int) -> None:
        self.source = iter(loader)
        self.device = device
        self.count = parts
        self.waited = 0.0  # seconds spent in here since the loop last set this to 0

    def __next__(self) -> Batch:
        before = time.perf_counter()
        raw = next(self.source)
        self.waited += time.perf_counter() - before
        whole = {name: self._scaled(pictures) for name, pictures in raw.items() if isinstance(pictures, Tensor)}
        pieces = {name: pictures.chunk(self.count) for name, pictures in whole.items()}
        parts = [{name: piece[part] for name, piece in pieces.items()} for part in range(self.count)]
        return Batch(parts, raw["unreadable"], raw["enlarged"])

    def _scaled(self, pictures: Tensor) -> Tensor:
        # uint8 crosses to the device: a quarter of the bytes; and nothing waits for the copy
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        moved = pictures.to(self.device, non_blocking=True)
        if moved.dtype == torch.uint8:
            return moved.to(torch.float32, memory_format=layout).div_(127.5).sub_(1.0)
        return moved.contiguous(memory_format=layout).mul(2.0).sub_(1.0)  # the batch is the readers': not written to
