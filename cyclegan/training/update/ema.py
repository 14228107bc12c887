"""Exponential moving average of the generators' weights.

It translates better than the weights of any one step, which circle around the equilibrium while their average moves
towards it
(Yazıcı et al. 2019, https://arxiv.org/abs/1806.04498).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class EMA:
    """Keeps `average ← d · average + (1 − d) · weights` after every step, in fp32.

    The decay d grows with the step, min(decay, (1 + step) / (10 + step)), so that the first, random weights do not
    linger. Buffers (running statistics) are copied as they are.
    """

    def __init__(self, generators: nn.ModuleDict, decay: float) -> None:
        self.decay = decay
        self.source = generators
        self.generators = copy.deepcopy(generators).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after `step` updates."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.generators.parameters()), list(self.source.parameters()), 1 - decay)
        for average, current in zip(self.generators.buffers(), self.source.buffers(), strict=True):
            average.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        return self.generators.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an empty state, of a run without average so far, starts from the present weights."""
        self.generators.load_state_dict(state or self.source.state_dict())


class NoEMA:
    """Null object without averaging: the generators themselves are sampled and saved."""

    def __init__(self, generators: nn.ModuleDict) -> None:
        self.generators = generators

    def update(self, step: int) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None


def build_ema(generators: nn.ModuleDict, decay: float) -> EMA | NoEMA:
    """The average with `decay`, or none for 0."""
    return EMA(generators, decay) if decay else NoEMA(generators)
