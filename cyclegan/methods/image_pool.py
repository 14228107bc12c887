"""The history of fakes that discriminators are trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """A discriminator sees old fakes as well as new ones, which keeps the two players from chasing each other in
    circles (Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828).

    Until `size` pictures are held, each new one is stored and returned. After that each is, with probability one
    half, returned as it is; else it takes the place of a random stored one, which is returned instead.

    The draws come from torch's global generator on the CPU, which the loop seeds by step; the pictures stay on
    their device, so nothing waits for it. `size` 0 returns what it is given.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.count = 0
        self.stored: Tensor | None = None  # size × CHW, allocated when the first picture shows its shape

    @torch.no_grad()
    def query(self, fakes: Tensor) -> Tensor:
        """For NCHW new fakes, as many new or old ones, detached, of the same shape and type."""
        fakes = fakes.detach()
        if self.size == 0:
            return fakes
        if self.stored is None:
            self.stored = fakes.new_zeros((self.size, *fakes.shape[1:]))
        elif self.stored.device != fakes.device:
            self.stored = self.stored.to(fakes.device)  # restored from a state
        keep_new = torch.rand(len(fakes)) < 0.5
        slots = torch.randint(self.size, (len(fakes),))
        chosen = []
        for fake, new, slot in zip(fakes, keep_new.tolist(), slots.tolist(), strict=True):
            if self.count < self.size:
                self._store(self.count, fake)
                self.count += 1
                chosen.append(fake)
            elif new:
                chosen.append(fake)
            else:
                chosen.append(self.stored[slot].to(fake.dtype, copy=True))
                self._store(slot, fake)
        return torch.stack(chosen)

    def _store(self, slot: int, fake: Tensor) -> None:
        # A fake that is not finite must not come back to poison a later step; decided on the device, without waiting.
        assert self.stored is not None
        self.stored[slot] = torch.where(torch.isfinite(fake).all(), fake, self.stored[slot])

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict()` holds of the pool: the stored pictures."""
        return {"stored": None if self.stored is None else self.stored[: self.count].clone()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over stored pictures; of a larger pool the first `size`."""
        stored = state["stored"]
        self.count = 0 if stored is None else min(len(stored), self.size)
        self.stored = None
        if self.count:
            self.stored = stored.new_zeros((self.size, *stored.shape[1:]))
            self.stored[: self.count] = stored[: self.count]

    def _apply(self, fn: Any, recurse: bool = True) -> ImagePool:
        super()._apply(fn, recurse)
        self.stored = None if self.stored is None else fn(self.stored)
        return self
