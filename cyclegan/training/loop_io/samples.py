"""Grids of sample pictures: the same held-out pictures each time, so that progress can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan.images import encode_image
from cyclegan.system.files import atomic_write
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.translation import Translator

MARGIN = 2  # pixels of white between pictures


def write_grids(
    generators: nn.ModuleDict,
    real: dict[str, Tensor],
    folder: Path,
    step: int,
    device: torch.device,
    precision: str,
    ranks: Ranks,
) -> dict[str, Path]:
    """One PNG for each direction the generators have, `{"a2b": path, "b2a": path}`.

    Each process of `ranks` translates a part; the first writes, the others return nothing.

    `real` holds NCHW pictures of domain "a" and "b", uint8 or float32 in [0, 1]. Rows are pictures; columns are real,
    fake, reconstructed and identity, as far as there is a generator for them that takes such pictures. Leaves the
    generators in evaluation mode.
    """
    translators = {
        direction: Translator(generator, device=str(device), precision=precision)
        for direction, generator in generators.items()
    }
    grids = {}
    for direction, there in translators.items():
        source, target = direction[0], direction[1]
        pictures = real[source] if real[source].dtype == torch.uint8 else real[source] * 2 - 1
        columns = [pictures, ranks.map_sharded(there, pictures)]
        back = translators.get(target + source)
        if back is not None:
            columns.append(ranks.map_sharded(back, columns[1]))
            if back.in_channels == pictures.shape[1]:
                columns.append(ranks.map_sharded(back, pictures))
        grids[f"{source}2{target}"] = columns
    if ranks.rank:
        return {}
    paths = {name: folder / f"{name}-{step:08d}.png" for name in grids}
    for name, columns in grids.items():
        # Into a folder that is there: a run that somebody removed may not come back as a folder of grids
        atomic_write(paths[name], encode_image(grid([visible(column) for column in columns]), ".png"))
    return paths


def visible(pictures: Tensor) -> Tensor:
    """NCHW pictures, uint8 or in [-1, 1], of any number of channels -> uint8 of 1 or 3: of more than 3 the first 3."""
    bytes_ = pictures if pictures.dtype == torch.uint8 else ((pictures + 1) * 127.5).round().clamp(0, 255).byte()
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
