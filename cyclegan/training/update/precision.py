"""Mixed precision, and the step of an optimizer.

An update whose gradients are not finite is skipped on the device: fused Adam reads a flag there, so the loop never
waits for it. With fp16 the flag is the gradient scaler's, otherwise it is set here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan.system.devices import autocast


class Precision:
    """Precision of a run: autocast for the forward passes, loss scaling for fp16."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        # fp16 has 5 exponent bits: small gradients vanish unless the loss is scaled up (Micikevicius et al. 2018,
        # https://arxiv.org/abs/1710.03740). A disabled scaler does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """The context that forward passes and losses run in."""
        return autocast(self.device, self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of `loss`, scaled where fp16 needs it. May be called inside `autocast`."""
        with torch.autocast(self.device.type, enabled=False):  # each gradient has the type of its forward already
            self.scaler.scale(loss).backward()

    def update(
        self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], loss: Tensor, clip: float
    ) -> tuple[Tensor, Tensor]:
        """Take one optimizer step and clear the gradients; returns (gradient norm, whether the step was skipped).

        The step is skipped, weights and moments untouched, when the loss or the gradient norm is not finite.
        Both results stay on the device.
        """
        self.scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        bad = ~(torch.isfinite(norm) & torch.isfinite(loss))
        if clip:
            torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
        if not self.scaler.is_enabled():
            optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # what fused optimizers look for
        self.scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        return norm, bad

    def end_step(self) -> None:
        """Adapt the loss scale; to be called after both updates."""
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the loss scale, a positive number; that of another precision is ignored."""
        if state and self.scaler.is_enabled():
            scale, tracker = float(state["scale"]), int(state["_growth_tracker"])
            if not 0 < scale < math.inf or tracker < 0:
                raise ValueError(f"a loss scale of {scale:g} after {tracker} steps")
            # The settings of its growth are those of the run
            self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": scale, "_growth_tracker": tracker})
