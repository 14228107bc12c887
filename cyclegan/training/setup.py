"""What a run is to be, found out before anything is written: values, device, pictures, networks."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import AUTO, PICTURE_FOLDERS, TrainConfig, flatten, in_steps, resolve
from cyclegan.data.kinds import InputKind, find_kinds, ranges_of
from cyclegan.data.sets import PictureSets, find_sets, steps_per_epoch
from cyclegan.errors import UsageError, lookup
from cyclegan.methods import METHODS, Method, build_method, options_for, with_networks
from cyclegan.networks import pick_precision
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.storage.run_directory import refuse_run_among_pictures, with_absolute_paths

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class ResolvedRun:
    """All that decides a run, found to be possible."""

    config: TrainConfig  # with its length in steps, and paths that hold in every working directory
    path: Path  # the run directory
    device: torch.device
    dtype: torch.dtype  # that the forward passes compute in
    domains: PictureSets
    views: dict[str, InputKind]
    method: Method  # freshly initialised, on the processor

    @property
    def steps(self) -> int:
        """The number of the last step."""
        assert self.config.steps is not None
        return self.config.steps

    @property
    def info(self) -> dict[str, Any]:
        """What files of generators say about themselves beside their networks."""
        config, ranges = self.config, ranges_of(self.views)
        info: dict[str, Any] = {"method": config.method, "load_size": config.load_size, "crop_size": config.crop_size}
        info |= self.domain_names | {"domains": self.domain_names}
        return info if ranges is None else info | {"ranges": ranges}

    @property
    def about(self) -> dict[str, Any]:
        """What a state says about itself beside what it restores."""
        specs = {direction: generator.spec for direction, generator in self.method.generators.items()}
        judges = {domain: network.spec for domain, network in self.method.discriminators.items()}
        return {
            "config": self.saved_config,
            "generator_specs": specs,
            "discriminator_specs": judges,
            "domains": self.domain_names,
            "ranges": ranges_of(self.views),
        }

    @property
    def domain_names(self) -> dict[str, str]:
        """The name of the folder of each domain."""
        return {domain: pictures.root.name for domain, pictures in self.domains.train.items()}

    @property
    def game(self) -> dict[str, Any]:
        """The method in the record of a run: directions, domains and equilibrium of the scores."""
        adversarial = self.method.adversarial
        return {
            "method": self.config.method,
            "domains": self.domain_names,
            "directions": list(self.method.generators),
            "equilibrium": None if adversarial is None else adversarial.equilibrium,
        }

    @property
    def saved_config(self) -> dict[str, Any]:
        """The configuration as it is written down: flat, with the options of the method."""
        return flatten(self.config, options_for(self.config))


def prepare_run(config: TrainConfig, path: Path, kept: dict[str, Any] | None, ranks: Ranks) -> ResolvedRun:
    """The plan of `config` for `ranks` in the directory `path`, which has the record `kept` of its pictures, if any.

    What may fail, fails here, while it is cheap; of the pictures little more than the headers is read. Raises
    `UsageError` for what cannot be done as asked, and `CycleganError` for a damaged record of an earlier start.
    """
    config = with_networks(config)
    config = resolve([flatten(config)], options_for(config))
    device = ranks.device(config.device)
    dtype = pick_precision(config.precision, device)
    _divide(config, ranks.world)
    domains = sets_of(config)
    for warning in domains.warnings:
        log.warning("%s", warning)
    config = with_absolute_paths(config)
    if config.batch_size != AUTO:  # else appetite.with_batch_size finds the number, and counts the steps by it
        config = in_steps(config, steps_per_epoch(domains, config.batch_size))
    refuse_run_among_pictures(path, domains)
    views = find_kinds(config, domains, kept, equal_channels=METHODS[config.method].equal_channels)
    torch.manual_seed(config.seed)
    method = build_method(config, {domain: view.channels for domain, view in views.items()})
    return ResolvedRun(config, path, device, dtype, domains, views, method)


def sets_of(config: TrainConfig) -> PictureSets:
    """The pictures of `config`, of the domains that its method reads and paired as it wants them; `UsageError`."""
    method = lookup(METHODS, config.method, "--method")
    return find_sets(config, method.domains, method.pairing)


def check_ranks_agree(plan: ResolvedRun, ranks: Ranks) -> None:
    """`UsageError` where the processes, on several machines perhaps, are about to do different things.

    Where the pictures lie, and on what device, may differ.
    """
    own = {*PICTURE_FOLDERS, "augment", "device", "workers", "worker_timeout", "cache"}
    facts = {
        "versions of cyclegan": importlib.metadata.version("cyclegan"),
        "versions of torch": torch.__version__,
        "pictures (by names and sizes)": plan.domains.fingerprint,
        "options": {name: value for name, value in plan.saved_config.items() if name not in own},
    }
    for rank, theirs in enumerate(ranks.all_gather(facts)):
        for what, value in facts.items():
            if theirs[what] != value:
                raise UsageError(f"process {rank} has other {what} than process {ranks.rank}; make them equal")


def _divide(config: TrainConfig, world: int) -> None:
    """`UsageError` for a batch that `world` processes cannot share evenly."""
    if config.batch_size == AUTO or config.batch_size % (world * config.accumulate) == 0:
        return
    parts = f" in --accumulate {config.accumulate} parts each" if config.accumulate > 1 else ""
    multiple = world * config.accumulate
    raise UsageError(
        f"--batch-size {config.batch_size} counts the pictures of all processes, and does not divide among {world}"
        f"{parts}; give a multiple of {multiple}"
    )
