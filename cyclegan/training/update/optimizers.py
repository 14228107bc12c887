"""Adam for each side, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def build_optimizer(
    parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980), fused: one pass over all weights.

    β1 is 0.5 in adversarial training, not 0.9: the other side moves, and a long memory of past gradients makes the two
    circle around the equilibrium (Radford et al. 2016, https://arxiv.org/abs/1511.06434).
    """
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)


def rate_factor(step: int, *, steps: int, decay_steps: int) -> float:
    """Factor of the learning rate at `step`: 1, then linearly to 0 over the last `decay_steps`."""
    return min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0


RATE_SCALES: dict[str, Callable[[int], float]] = {
    "none": lambda batch_size: 1.0,
    "sqrt": math.sqrt,  # keeps the noise of an update (Krizhevsky 2014, https://arxiv.org/abs/1404.5997)
    "linear": float,  # keeps the distance moved per picture (Goyal et al. 2017, https://arxiv.org/abs/1706.02677)
}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of `optimizer` the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class AdamMoments:
    """The moments of `optimizer` (Adam), as a part of a state.

    Nothing else is restored: rates and betas are those of the run, and a state may come from anybody.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the moments in the memory layout of the weights.

        On another device or in another precision it may have been another one, and the fused kernel goes through all
        of them as they lie in memory. Raises `ValueError` where they do not fit the parameters.
        """
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if not state["state"].keys() <= set(range(len(parameters))):
            raise ValueError(f"there are {len(parameters)} parameters, and moments of others")
        for number, saved in state["state"].items():
            parameter = parameters[number]
            moments = {"step": torch.empty((), dtype=torch.float32, device=parameter.device)}
            moments |= {name: torch.empty_like(parameter, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
            for name, moment in moments.items():
                if not torch.is_floating_point(saved[name]) or saved[name].shape != moment.shape:
                    raise ValueError(f"{name} of parameter {number} is no tensor of its shape {tuple(moment.shape)}")
                moment.copy_(saved[name])
            self.optimizer.state[parameter] = moments
