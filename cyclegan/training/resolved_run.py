"""Everything that decides a run, as resolved before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig, flatten
from cyclegan.data.kinds import InputKind, ranges_of
from cyclegan.data.sets import PictureSets
from cyclegan.methods import Method, options_for
from cyclegan.training.distributed.ranks import Ranks


@dataclass(frozen=True)
class ResolvedRun:
    """Configuration, device, picture sets and initialised networks of a run."""

    config: TrainConfig  # with its length in steps and absolute paths
    path: Path  # the run directory
    ranks: Ranks
    device: torch.device
    dtype: torch.dtype  # of the forward passes
    sets: PictureSets
    kinds: dict[str, InputKind]
    method: Method  # freshly initialised, on the CPU

    @property
    def steps(self) -> int:
        """The number of the last step."""
        assert self.config.steps is not None
        return self.config.steps

    @property
    def domain_names(self) -> dict[str, str]:
        """The name of the folder of each domain."""
        return {domain: pictures.root.name for domain, pictures in self.sets.train.items()}

    @property
    def saved_config(self) -> dict[str, Any]:
        """The configuration as it is written: flat, with the options of method and networks."""
        return flatten(self.config, options_for(self.config))

    @property
    def info(self) -> dict[str, Any]:
        """Metadata of generators files, beside the networks."""
        config, ranges = self.config, ranges_of(self.kinds)
        info: dict[str, Any] = {"method": config.method, "load_size": config.load_size, "crop_size": config.crop_size}
        info |= self.domain_names | {"domains": self.domain_names}
        return info if ranges is None else info | {"ranges": ranges}

    @property
    def state_info(self) -> dict[str, Any]:
        """Metadata of a state, beside what it restores."""
        return {
            "config": self.saved_config,
            "generator_specs": {key: network.spec for key, network in self.method.generators.items()},
            "discriminator_specs": {domain: network.spec for domain, network in self.method.discriminators.items()},
            "domains": self.domain_names,
            "ranges": ranges_of(self.kinds),
            "processes": self.ranks.world,
        }

    @property
    def method_record(self) -> dict[str, Any]:
        """The method's entry in meta.json: domains, directions and equilibrium of the scores."""
        adversarial = self.method.adversarial
        return {
            "method": self.config.method,
            "domains": self.domain_names,
            "directions": list(self.method.generators),
            "equilibrium": None if adversarial is None else adversarial.equilibrium,
        }
