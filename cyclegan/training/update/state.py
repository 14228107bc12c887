"""The two sides of a game on their device, and all that moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cyclegan.config import TrainConfig
from cyclegan.methods import Images, KeepsFakes, Method
from cyclegan.networks import Generator, place_networks
from cyclegan.system.devices import is_exact, prepare
from cyclegan.system.rng import Draws
from cyclegan.training.distributed.ranks import Ranks, SingleProcess
from cyclegan.training.distributed.sync_batchnorm import convert_sync_batchnorm
from cyclegan.training.storage.checkpoint import HasState, restore
from cyclegan.training.update.ema import build_ema
from cyclegan.training.update.optimizers import RATE_SCALES, AdamMoments, build_optimizer, rate_factor, set_rate
from cyclegan.training.update.precision import Precision
from cyclegan.training.update.step import Side, StepResult, train_step


class TrainState:
    """Networks, their average, an optimizer for each side, and precision: all that a step changes.

    `config` has its length in steps and a batch size. `generators` and `discriminators` are the sides. Learning rates
    are functions of the step; what must be restored for an exact resume is in `stateful`. Each of `ranks` has its
    own; they remain equal.
    """

    def __init__(
        self, method: Method, config: TrainConfig, device: torch.device, dtype: torch.dtype, ranks: Ranks | None = None
    ) -> None:
        self.method = method
        self.config = config
        self.device = device
        self.ranks = ranks or SingleProcess()
        exact = is_exact(config.precision)
        prepare(device, exact=exact)
        place_networks(method, device, exact=exact)
        for network in method.modules():
            if isinstance(network, Generator):
                network.recompute = config.checkpoint_activations
        self.ema = build_ema(self.method.generators, config.ema_decay)
        self.precision = Precision(device, dtype)
        betas = (config.beta1, config.beta2)
        scale = RATE_SCALES[config.lr_scale](config.batch_size)
        self.rates = (config.lr_generator * scale, config.lr_discriminator * scale)
        self.generators, self.discriminators = (
            Side(list(parameters), build_optimizer(parameters, lr=rate, betas=betas), config.clip_gradient)
            for parameters, rate in zip(
                (list(self.method.generator_parameters()), list(self.method.discriminator_parameters())),
                self.rates,
                strict=True,
            )
        )
        convert_sync_batchnorm(method, self.ranks)

    @property
    def stateful(self) -> dict[str, HasState]:
        """What must survive an interruption, by its name in a state."""
        return {
            "method": self.method,
            "ema": self.ema,
            "generator_optimizer": AdamMoments(self.generators.optimizer),
            "discriminator_optimizer": AdamMoments(self.discriminators.optimizer),
            "precision": self.precision,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; `CycleganError` where it does not fit."""
        restore(state, **self.stateful)
        for pool in self._pools():
            pool.deal(self.config.batch_size)
            pool.keep(self._places())
        self.set_rates(max(state["step"] - 1, 0))  # as its last step had them, though there be no other

    def broadcast(self) -> None:
        """Begin from the weights of the first of all processes, whatever the others' came to."""
        for networks in (self.method, self.ema.generators):
            self.ranks.broadcast(networks)

    def gather_pools(self) -> None:
        """Bring the fakes that the other processes hold to the first, which is about to save them."""
        for pool in self._pools():
            for state in self.ranks.gather(pool.get_extra_state())[1:]:
                pool.join(state)

    def _pools(self) -> list[KeepsFakes]:
        return [module for module in self.method.modules() if isinstance(module, KeepsFakes)]

    def _places(self) -> range:
        """The places in the batch of the pictures that this process sees."""
        each = self.config.batch_size // self.ranks.world
        return range(self.ranks.rank * each, (self.ranks.rank + 1) * each)

    def draws_for(self, step: int) -> list[Draws]:
        """The draws of each part of this process's share of the batch, for the step that leads to `step`."""
        config, places = self.config, self._places()
        each = len(places) // config.accumulate
        # From the seed and the step too, for what is drawn for no picture in particular (dropout), and of each process
        torch.manual_seed((config.seed * 1_000_003 + step + self.ranks.rank * 2**40) % 2**63)
        return [
            Draws(seed=config.seed, step=step, first=first, count=each, total=config.batch_size)
            for first in places[::each]
        ]

    def step(self, parts: Sequence[Images], drawing: Sequence[Draws]) -> StepResult:
        """One step of the game on this process's share of a batch; see `cyclegan.training.update.step.train_step`."""
        sides = self.generators, self.discriminators
        return train_step(self.method, *sides, parts, self.precision, self.ranks.average, drawing)

    def set_rates(self, step: int) -> None:
        """Give both sides their learning rates for the step after `step`."""
        assert self.config.steps is not None
        assert self.config.decay_steps is not None
        factor = rate_factor(step, steps=self.config.steps, decay_steps=self.config.decay_steps)
        for side, rate in zip((self.generators, self.discriminators), self.rates, strict=True):
            set_rate(side.optimizer, rate * factor)
