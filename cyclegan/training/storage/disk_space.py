"""Check of the disk space for a run, before it starts."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from torch import nn

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.methods import KeepsFakes, Method

STATES = 3  # the two that are kept and the one that is being written
GENERATORS = 2  # the newest, and the one that is being written
MOMENTS = 2  # Adam's, for each parameter
COLUMNS = 4  # of a grid of samples
SMALLER = 0.7  # size of PNG files of photographs, of the raw bytes


def check_space(run: Path, method: Method, config: TrainConfig) -> None:
    """Raise `UsageError` where the disk of `run`, which need not exist, has less space than the run will take.

    `config` has its length in steps. Files that the run has already are not counted again. A quota is not seen; files
    of Weights & Biases and the gallery are not counted.
    """
    place = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.is_dir())
    kept = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) if place == run.absolute() else 0
    needed, disk = needed_space(method, config) - kept, shutil.disk_usage(place)
    if needed > disk.free and disk.total:  # /proc and its like have no size; that they take no files is said elsewhere
        raise UsageError(
            f"-o {run}: the run will take about {_words(needed)} there, for states, generators and samples, and "
            f"{_words(disk.free)} are free; make room, name another place, or raise --sample-every "
            "and --generators-every"
        )


def needed_space(method: Method, config: TrainConfig) -> int:
    """Bytes that the run of `config` will take at most: states, generators and sample grids."""
    assert config.steps is not None, "the length is in steps by now"
    generators = _bytes(method.generators)
    state = _bytes(method) + MOMENTS * sum(value.nbytes for value in method.parameters())
    state += generators if config.ema_decay else 0
    picture = config.crop_size**2 * 3 * 4  # in fp32, of three channels
    state += sum(module.nbytes(picture) for module in method.modules() if isinstance(module, KeepsFakes))
    files = GENERATORS + (config.steps // config.generators_every if config.generators_every else 0)
    files += len(config.metric.split(",")) if config.evaluate_every else 0
    grids = len(method.generators) * (config.steps // config.sample_every + 1 if config.sample_every else 0)
    grid = SMALLER * config.samples * COLUMNS * (config.load_size or config.crop_size) ** 2 * 3
    return STATES * state + files * generators + round(grids * grid)


def _bytes(network: nn.Module) -> int:
    return sum(value.nbytes for value in itertools.chain(network.parameters(), network.buffers()))


def _words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
