"""Grids of sample pictures: the same held-out pictures each time, so that progress can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan.images import write_image
from cyclegan.translation import Translator

MARGIN = 2  # pixels of white between pictures


def write_grids(
    generators: nn.ModuleDict,
    real: dict[str, Tensor],
    folder: Path,
    step: int,
    device: torch.device,
    precision: str,
) -> dict[str, Path]:
    """One PNG for each direction the generators have, `{"a2b": path, "b2a": path}`.

    `real` holds uint8 NCHW pictures of domain "a" and "b". Rows are pictures; columns are real, fake, reconstructed
    and identity, as far as there is a generator for them. Leaves the generators in evaluation mode.
    """
    translators = {
        direction: Translator(generator, device=str(device), precision=precision)
        for direction, generator in generators.items()
    }
    paths = {}
    for direction, translate in translators.items():
        source, target = direction[0], direction[1]
        columns = [real[source], translate(real[source])]
        back = translators.get(target + source)
        if back is not None:
            columns += [back(columns[1]), back(real[source])]
        paths[f"{source}2{target}"] = folder / f"{source}2{target}-{step:08d}.png"
        write_image(paths[f"{source}2{target}"], grid(columns))
    return paths


def grid(columns: list[Tensor]) -> np.ndarray:
    """uint8 NCHW `columns` of equally many pictures -> one uint8 HWC picture, a row for each N."""
    rows = torch.stack([column.cpu() for column in columns], dim=1)  # N × columns × C × H × W
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
