"""Adam for each side, and its learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn


def build_optimizer(
    parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980), fused: one pass over all weights.

    β1 is 0.5 in adversarial training, not 0.9: the other player moves, and a long memory of where the gradient used
    to point makes the two circle around the equilibrium (Radford et al. 2016, https://arxiv.org/abs/1511.06434).
    """
    return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)


def rate_factor(step: int, *, steps: int, decay_steps: int) -> float:
    """What the learning rate is multiplied with at `step`: 1, then linearly to 0 over the last `decay_steps`."""
    return min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0


RATE_SCALES: dict[str, Callable[[int], float]] = {
    "none": lambda batch_size: 1.0,
    "sqrt": math.sqrt,  # keeps the noise of an update (Krizhevsky 2014, https://arxiv.org/abs/1404.5997)
    "linear": float,  # keeps the way gone per picture (Goyal et al. 2017, https://arxiv.org/abs/1706.02677)
}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of `optimizer` the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def set_betas(optimizer: torch.optim.Optimizer, betas: tuple[float, float]) -> None:
    """Give every group of `optimizer` these moments; a restored state brings those it was saved with."""
    for group in optimizer.param_groups:
        group["betas"] = betas


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay the moments out as the weights are. A state may come from a device or a precision that lays them out
    otherwise, and the fused kernel goes through all of them as they lie in memory.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
