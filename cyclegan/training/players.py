"""The two sides of a game on their device, and all that moves them."""

from __future__ import annotations

from typing import Any

from cyclegan.devices import is_exact, prepare
from cyclegan.networks import Generator, arrange
from cyclegan.training.checkpoint import HasState, restore
from cyclegan.training.ema import build_ema
from cyclegan.training.optimizers import build_optimizer, match_layout, rate_factor, set_betas, set_rate
from cyclegan.training.plan import Plan
from cyclegan.training.precision import Precision
from cyclegan.training.step import Side


class Players:
    """The networks of `plan` on its device, their average, an optimizer for each side, and the precision.

    `generators` and `discriminators` are the sides. Learning rates are functions of the step; what must be restored
    for an exact resume is in `lasting`.
    """

    def __init__(self, plan: Plan) -> None:
        config = plan.config
        self.plan = plan
        self.method = plan.method
        prepare(plan.device, exact=is_exact(config.precision))
        arrange(self.method, plan.device, exact=is_exact(config.precision))
        for network in self.method.modules():
            if isinstance(network, Generator):
                network.recompute = config.checkpoint_activations
        self.ema = build_ema(self.method.generators, config.ema_decay)
        self.precision = Precision(plan.device, plan.dtype)
        self.betas = (config.beta1, config.beta2)
        self.rates = (config.lr_generator, config.lr_discriminator)
        self.generators, self.discriminators = (
            Side(list(parameters), build_optimizer(parameters, lr=rate, betas=self.betas), config.clip_gradient)
            for parameters, rate in zip(
                (list(self.method.generator_parameters()), list(self.method.discriminator_parameters())),
                self.rates,
                strict=True,
            )
        )

    @property
    def lasting(self) -> dict[str, HasState]:
        """What must survive an interruption, by its name in a state."""
        return {
            "method": self.method,
            "ema": self.ema,
            "generator_optimizer": self.generators.optimizer,
            "discriminator_optimizer": self.discriminators.optimizer,
            "precision": self.precision,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; `CycleganError` where it does not fit."""
        restore(state, **self.lasting)
        for side in (self.generators, self.discriminators):
            set_betas(side.optimizer, self.betas)
            match_layout(side.optimizer)

    def set_rates(self, step: int) -> None:
        """Give both sides their learning rates for the step after `step`."""
        assert self.plan.config.decay_steps is not None
        factor = rate_factor(step, steps=self.plan.steps, decay_steps=self.plan.config.decay_steps)
        for side, rate in zip((self.generators, self.discriminators), self.rates, strict=True):
            set_rate(side.optimizer, rate * factor)
