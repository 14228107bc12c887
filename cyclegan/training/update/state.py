"""Networks and optimizers of a run, on their device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from cyclegan.config import TrainConfig
from cyclegan.methods import Images, KeepsFakes, Method
from cyclegan.networks import Generator, place_networks
from cyclegan.system.devices import is_exact, prepare
from cyclegan.system.rng import Draws
from cyclegan.training.distributed.ranks import Ranks, SingleProcess
from cyclegan.training.distributed.sync_batchnorm import convert_sync_batchnorm
from cyclegan.training.loop_io.health import NonFiniteGuard, RunningMeans
from cyclegan.training.storage.checkpoint import HasState, States, restore
from cyclegan.training.update.compilation import compile_networks, wanted
from cyclegan.training.update.ema import build_ema
from cyclegan.training.update.optimizers import RATE_SCALES, AdamMoments, build_optimizer, rate_factor, set_rate
from cyclegan.training.update.precision import Precision
from cyclegan.training.update.step import Side, StepResult, train_step

log = logging.getLogger("cyclegan")

_OTHER_NUMBER = (
    "the state was saved by {} processes and goes on with {}: pictures, pool and draws are the same, sums are taken in "
    "another order, so that results agree but for rounding; dropout and cycle noise are drawn anew"
)


class TrainState:
    """Everything that a step changes: networks, EMA, an optimizer for each side, precision and running figures.

    `config` has its length in steps and a batch size. `generators` and `discriminators` are the sides. Learning rates
    are functions of the step; what an exact resume restores is in `stateful`. Each of `ranks` has its own; they
    remain equal.
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
        self.ema = build_ema(method.generators, config.ema_decay)
        self.precision = Precision(device, dtype)
        scale = RATE_SCALES[config.lr_scale](config.batch_size)
        self.rates = (config.lr_generator * scale, config.lr_discriminator * scale)
        betas, clip = (config.beta1, config.beta2), config.clip_gradient
        self.generators, self.discriminators = (
            Side(parameters, build_optimizer(parameters, lr=rate, betas=betas), clip)
            for parameters, rate in zip(
                (list(method.generator_parameters()), list(method.discriminator_parameters())), self.rates, strict=True
            )
        )
        convert_sync_batchnorm(method, self.ranks)
        self.guard = NonFiniteGuard(device)
        self.means = RunningMeans(self.ranks)

    @property
    def stateful(self) -> dict[str, HasState]:
        """The parts of a state, by name."""
        return {
            "method": self.method,
            "ema": self.ema,
            "generator_optimizer": AdamMoments(self.generators.optimizer),
            "discriminator_optimizer": AdamMoments(self.discriminators.optimizer),
            "precision": self.precision,
            "guard": self.guard,
            "averages": self.means,
        }

    def resume(self, run: Path, began: bool, **others: HasState) -> int:
        """Restore the newest state of a `run` that `began` before, with `others` that it holds; returns its step, or 0.

        Raises `CycleganError` where it does not fit. All ranks begin with the weights of rank 0.
        """
        saved = self.ranks.on_rank_zero(lambda: States(run / "checkpoints").load_newest() if began else None)
        step = 0
        if saved is not None:
            restore(saved, **self.stateful)
            for pool in self._pools():
                pool.deal(self.config.batch_size)
                pool.keep(self._places())
            step = saved["step"]
            self.set_rates(max(step - 1, 0))  # as its last step had them, though there be no other
            restore(saved, **others)
            log.info("resuming %s at step %d of %d", run, step, self.config.steps)
            if (before := saved["processes"]) != self.ranks.world:
                log.info("%s", _OTHER_NUMBER.format(before, self.ranks.world))
        for networks in (self.method, self.ema.generators):
            self.ranks.broadcast(networks)
        return step

    def compile(self, steps_left: int) -> None:
        """Compile the networks where `steps_left` are enough to pay for it; see `compilation.wanted`."""
        if wanted(self.config.compile, self.device, steps_left):
            compile_networks(self.method, self.device)

    def gather(self) -> None:
        """Bring what other ranks hold, fakes of pools and sums of figures, to rank 0, which is about to save it."""
        for pool in self._pools():
            for state in self.ranks.gather(pool.get_extra_state())[1:]:
                pool.join(state)
        self.means.gather()

    def draws_for(self, step: int) -> list[Draws]:
        """The random draws of each part of this rank's share of the batch, for the step that leads to `step`."""
        config, places = self.config, self._places()
        each = len(places) // config.accumulate
        # From the seed and the step too, for what is drawn for no picture in particular (dropout), and of each process
        torch.manual_seed((config.seed * 1_000_003 + step + self.ranks.rank * 2**40) % 2**63)
        return [
            Draws(seed=config.seed, step=step, first=first, count=each, total=config.batch_size)
            for first in places[::each]
        ]

    def step(self, parts: Sequence[Images], step: int) -> StepResult:
        """Take the step from `step` to `step + 1` on this rank's share of a batch; see `train_step`.

        Everything random in it (pool, dropout, interpolation) follows from the seed and the step.
        """
        draws = self.draws_for(step + 1)
        self.set_rates(step)
        sides = self.generators, self.discriminators
        result = train_step(self.method, *sides, parts, self.precision, self.ranks.average, draws)
        self.ema.update(step + 1)
        self.guard.update(result.skipped)
        self.means.update(result.figures)
        return result

    def set_rates(self, step: int) -> None:
        """Set the learning rates of both sides for the step after `step`."""
        assert self.config.steps is not None
        assert self.config.decay_steps is not None
        factor = rate_factor(step, steps=self.config.steps, decay_steps=self.config.decay_steps)
        for side, rate in zip((self.generators, self.discriminators), self.rates, strict=True):
            set_rate(side.optimizer, rate * factor)

    def _pools(self) -> list[KeepsFakes]:
        return [module for module in self.method.modules() if isinstance(module, KeepsFakes)]

    def _places(self) -> range:
        """The places in the batch of the pictures that this rank sees."""
        each = self.config.batch_size // self.ranks.world
        return range(self.ranks.rank * each, (self.ranks.rank + 1) * each)
