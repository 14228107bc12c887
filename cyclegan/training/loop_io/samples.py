"""Sample grids: translations of the same held-out pictures each time, so that progress can be seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan.config import TrainConfig
from cyclegan.data.held_out import held_out_pictures
from cyclegan.errors import reason_of
from cyclegan.images import encode_image
from cyclegan.methods import Images, Method
from cyclegan.system import rng
from cyclegan.system.files import atomic_write
from cyclegan.system.pixels import to_bytes
from cyclegan.system.rng import Draws
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.update.state import TrainState
from cyclegan.translation import Translator
from cyclegan.translation.noise import NoiseSampler

log = logging.getLogger("cyclegan")

Grids = dict[str, tuple[Path, tuple[str, ...]]]  # name such as "a2b" -> file and headings of the columns

MARGIN = 2  # pixels of white between pictures


class SampleGrids:
    """Writes sample grids of the generators of `state` into the folder `samples` of `run`."""

    def __init__(self, run: ResolvedRun, state: TrainState) -> None:
        self.run = run
        self.state = state
        self.real = held_out_pictures(run.sets, run.config, run.config.samples, run.kinds)

    def write(self, step: int) -> Grids:
        """Write the grids of `step`; a disk that is full is a warning, and training goes on."""
        run, method = self.run, self.state.method
        where = run.path / "samples", step, run.device, run.config, run.ranks
        try:
            return write_grids(method, self.state.ema.generators, self.real, *where)
        except OSError as error:
            log.warning("the sample grids could not be written (%s); training goes on", reason_of(error))
            return {}
        finally:
            method.train()


def write_grids(
    method: Method,
    generators: nn.ModuleDict,
    real: dict[str, Tensor],
    folder: Path,
    step: int,
    device: torch.device,
    config: TrainConfig,
    ranks: Ranks,
) -> Grids:
    """Write one PNG for each direction: rows are pictures, columns those of `method.columns`.

    `generators` are those of `method` or their averages; `real` holds NCHW pictures by domain, uint8 or float32 in
    [0, 1]. Noise is the same each time. Each of `ranks` translates a part; rank 0 writes, the others return nothing.
    Leaves the generators in evaluation mode.
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
    cells = torch.stack([column.cpu().expand(-1, most, -1, -1) for column in columns], dim=1)
    count, across, channels, height, width = cells.shape
    framed = nn.functional.pad(cells, (MARGIN, 0, MARGIN, 0), value=255)  # each has its margin above and to the left
    rows = framed.permute(0, 3, 1, 4, 2).reshape(count * (height + MARGIN), across * (width + MARGIN), channels)
    return np.pad(rows.numpy(), ((0, MARGIN), (0, MARGIN), (0, 0)), constant_values=255)
