"""What a run is to be, found out before anything is written: values, device, pictures, networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig, flatten, in_steps, resolve
from cyclegan.data import Domains, View, find_domains, find_views, ranges_of, steps_per_epoch
from cyclegan.devices import pick_device, pick_precision
from cyclegan.methods import Method, build_method, options_of
from cyclegan.training.run import absolute, default_run, kept_record, refuse_run_among_pictures

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class Plan:
    """All that decides a run, found to be possible."""

    config: TrainConfig  # with its length in steps, and paths that hold in every working directory
    path: Path  # the run directory
    device: torch.device
    dtype: torch.dtype  # that the forward passes compute in
    domains: Domains
    views: dict[str, View]
    method: Method  # freshly initialised, on the processor

    @property
    def steps(self) -> int:
        """The number of the last step."""
        assert self.config.steps is not None
        return self.config.steps

    @property
    def info(self) -> dict[str, Any]:
        """What files of generators say about themselves beside their networks."""
        config, domains, ranges = self.config, self.domains, ranges_of(self.views)
        info: dict[str, Any] = {"method": config.method, "load_size": config.load_size, "crop_size": config.crop_size}
        info |= {"a": domains.train_a.root.name, "b": domains.train_b.root.name}
        return info if ranges is None else info | {"ranges": ranges}

    @property
    def about(self) -> dict[str, Any]:
        """What a state says about itself beside what it restores."""
        specs = {direction: generator.spec for direction, generator in self.method.generators.items()}
        return {"config": self.saved_config, "generator_specs": specs, "ranges": ranges_of(self.views)}

    @property
    def saved_config(self) -> dict[str, Any]:
        """The configuration as it is written down: flat, with the options of the method."""
        return flatten(self.config, options_of(self.config.method))


def make_plan(config: TrainConfig, run: str | Path | None) -> Plan:
    """The plan of `config` in the directory `run` (default `runs/<a>2<b>`).

    What may fail, fails here, while it is cheap; of the pictures little more than the headers is read. Raises
    `UsageError` for what cannot be done as asked, and `CycleganError` for a damaged record of an earlier start.
    """
    config = resolve([flatten(config)], options_of(config.method))
    device = pick_device(config.device)
    dtype = pick_precision(config.precision, device)
    domains = find_domains(config)
    for warning in domains.warnings:
        log.warning("%s", warning)
    config = in_steps(absolute(config), steps_per_epoch(domains, config.batch_size))
    path = Path(run) if run is not None else default_run(config)
    refuse_run_among_pictures(path, domains)
    views = find_views(config, domains, kept_record(path))
    torch.manual_seed(config.seed)
    method = build_method(config, {domain: view.channels for domain, view in views.items()})
    return Plan(config, path, device, dtype, domains, views, method)
