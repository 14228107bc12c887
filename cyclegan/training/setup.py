"""Set-up of a run: values, device, pictures and networks, resolved and checked before anything is written."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import AUTO, PICTURE_FOLDERS, TrainConfig, flatten, in_steps, resolve
from cyclegan.data.kinds import find_kinds
from cyclegan.data.sets import PictureSets, find_sets, steps_per_epoch
from cyclegan.errors import UsageError, lookup
from cyclegan.methods import METHODS, build_method, options_for, with_networks
from cyclegan.networks import pick_precision
from cyclegan.training.batch_size import with_batch_size
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.storage.disk_space import check_space
from cyclegan.training.storage.run_directory import read_data_record, refuse_run_among_pictures, with_absolute_paths

log = logging.getLogger("cyclegan")


def prepare_run(config: TrainConfig, path: Path, ranks: Ranks) -> ResolvedRun:
    """Resolve `config` for a run in the directory `path` on all `ranks` at once.

    What may fail fails here, while it is cheap: batch size, disk space, agreement of the ranks. Raises `UsageError`
    for what cannot be done as asked, and `CycleganError` for a damaged record of an earlier start.
    """
    recorded = ranks.on_rank_zero(lambda: read_data_record(path))
    run = with_batch_size(ranks.raise_on_all(lambda: resolve_run(config, path, recorded, ranks)))
    check_ranks_agree(run)
    ranks.connect(run.device)
    ranks.on_rank_zero(lambda: check_space(path, run.method, run.config))
    return run


def resolve_run(config: TrainConfig, path: Path, recorded: dict[str, Any] | None, ranks: Ranks) -> ResolvedRun:
    """Resolve everything but `--batch-size auto`, reading little more of the pictures than their headers.

    `recorded` is the data record of an earlier start in `path`, if any.
    """
    config = with_networks(config)
    config = resolve([flatten(config)], options_for(config))
    device = ranks.device(config.device)
    dtype = pick_precision(config.precision, device)
    _check_divisible(config, ranks.world)
    sets = sets_of(config)
    for warning in sets.warnings:
        log.warning("%s", warning)
    config = with_absolute_paths(config)
    if config.batch_size != AUTO:  # else `with_batch_size` finds the number, and counts the steps by it
        config = in_steps(config, steps_per_epoch(sets, config.batch_size))
    refuse_run_among_pictures(path, sets)
    kinds = find_kinds(config, sets, recorded, equal_channels=METHODS[config.method].equal_channels)
    torch.manual_seed(config.seed)
    method = build_method(config, {domain: kind.channels for domain, kind in kinds.items()})
    return ResolvedRun(config, path, ranks, device, dtype, sets, kinds, method)


def sets_of(config: TrainConfig) -> PictureSets:
    """The picture sets of `config`, by the domains and pairing of its method. Raises `UsageError`."""
    method = lookup(METHODS, config.method, "--method")
    return find_sets(config, method.domains, method.pairing)


def check_ranks_agree(run: ResolvedRun) -> None:
    """Raise `UsageError` where ranks, on several machines perhaps, have other versions, pictures or options.

    Folders and devices may differ.
    """
    local = {*PICTURE_FOLDERS, "augment", "device", "workers", "worker_timeout", "cache"}
    facts = {
        "versions of cyclegan": importlib.metadata.version("cyclegan"),
        "versions of torch": torch.__version__,
        "pictures (by names and sizes)": run.sets.fingerprint,
        "options": {name: value for name, value in run.saved_config.items() if name not in local},
    }
    for rank, theirs in enumerate(run.ranks.all_gather(facts)):
        for name, value in facts.items():
            if theirs[name] != value:
                raise UsageError(f"process {rank} has other {name} than process {run.ranks.rank}; make them equal")


def _check_divisible(config: TrainConfig, world: int) -> None:
    """Raise `UsageError` for a batch that `world` processes cannot share evenly."""
    multiple = world * config.accumulate
    if config.batch_size == AUTO or config.batch_size % multiple == 0:
        return
    parts = f" in --accumulate {config.accumulate} parts each" if config.accumulate > 1 else ""
    raise UsageError(
        f"--batch-size {config.batch_size} counts the pictures of all processes, and does not divide among {world}"
        f"{parts}; give a multiple of {multiple}"
    )
