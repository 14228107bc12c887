"""Grids of sample pictures: the same held-out pictures each time, so that progress can be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan.config import TrainConfig
from cyclegan.images import encode_image
from cyclegan.methods import Images, Method
from cyclegan.system import rng
from cyclegan.system.files import atomic_write
from cyclegan.system.pixels import to_bytes
from cyclegan.system.rng import Draws
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.translation import Translator
from cyclegan.translation.noise import NoiseSampler

MARGIN = 2  # pixels of white between pictures


def write_grids(
    method: Method,
    generators: nn.ModuleDict,
    real: dict[str, Tensor],
    folder: Path,
    step: int,
    device: torch.device,
    config: TrainConfig,
    ranks: Ranks,
) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """One PNG for each direction with the names of its columns, `{"a2b": (path, names), …}`.

    Rows are pictures, columns those of `method.columns`.

    `generators` are those of `method` or their averages; `real` holds NCHW pictures by domain, uint8 or float32 in
    [0, 1]. Noise is the same each time. Each process of `ranks` translates a part; rank 0 writes, the others return
    nothing. Leaves the generators in evaluation mode.
    """
    where: dict[str, Any] = {"device": device, "precision": config.precision}
    engines: dict[str, Callable[[Tensor], Tensor]] = {}
    for direction in method.directions:
        generator: Any = generators[direction.key]
        noise = direction.from_noise
        engines[direction.key] = NoiseSampler(generator, **where).unit if noise else Translator(generator, **where)
    batch = {name: some if some.dtype == torch.uint8 else some * 2 - 1 for name, some in real.items()}
    count = min(len(some) for some in batch.values())
    grids: dict[str, Images] = {}

    def run(key: str, given: Tensor) -> Tensor:
        return ranks.map_sharded(engines[key], given)

    for direction in method.directions:
        with rng.at(Draws(seed=config.seed, step=0, first=0, count=count, total=count)):
            grids[f"{direction.source}2{direction.target}"] = method.columns(direction, batch, run)
    if ranks.rank:
        return {}
    paths = {name: folder / f"{name}-{step:08d}.png" for name in grids}
    for name, columns in grids.items():
        # Into a folder that is there: a run that somebody removed may not come back as a folder of grids
        atomic_write(paths[name], encode_image(grid([visible(column) for column in columns.values()]), ".png"))
    return {name: (paths[name], tuple(columns)) for name, columns in grids.items()}


def visible(pictures: Tensor) -> Tensor:
    """NCHW pictures, uint8 or in [-1, 1], of any number of channels -> uint8 of 1 or 3: of more than 3 the first 3."""
    bytes_ = pictures if pictures.dtype == torch.uint8 else to_bytes(pictures)
    return bytes_[:, : 3 if bytes_.shape[1] >= 3 else 1]


def grid(columns: list[Tensor]) -> np.ndarray:
    """uint8 NCHW `columns` of equally many pictures, of 1 or 3 channels -> one uint8 HWC picture, a row for each N."""
    most = max(column.shape[1] for column in columns)
    shown = [column.cpu().expand(-1, most, -1, -1) for column in columns]
    rows = torch.stack(shown, dim=1)  # N × columns × C × H × W
    count, across, channels, height, width = rows.shape
    canvas = np.full(
        (count * (height + MARGIN) + MARGIN, across * (width + MARGIN) + MARGIN, channels),
        255,
        dtype=np.uint8,
    )
    for y in range(count):
        for x in range(across):
            top, left = MARGIN + y * (height + MARGIN), MARGIN + x * (width + MARGIN)
            canvas[top : top + height, left : left + width] = rows[y, x].permute(1, 2, 0).numpy()
    return canvas
