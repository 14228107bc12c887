"""History of fakes that discriminators are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from cyclegan.errors import CycleganError
from cyclegan.methods.base import KeepsFakes
from cyclegan.system import rng


class ImagePool(KeepsFakes):
    """Pool of old and new fakes for a discriminator, against oscillation of the game.

    Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828. Until `size` pictures are held, each new one is stored
    and returned. After that each is, with probability one half, returned as it is; else it replaces a random stored
    one, which is returned instead. `size` 0 returns the input.

    The pool is divided into lanes, one for each place in the batch (`cyclegan.system.rng`), of sizes that differ by
    at most one picture and are at least one. Each place exchanges with its own lane: a fake is as likely to return, and
    as old when it does, as in one common pool, and dividing a batch among processes makes no difference.

    The pictures stay on their device, without synchronisation.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.total = 1  # places in the batch
        self.lanes: dict[int, list[Tensor]] = {}  # place -> CHW fakes

    @torch.no_grad()
    def query(self, fakes: Tensor) -> Tensor:
        """Exchange NCHW new fakes for as many new or old ones, detached, of the same shape and type."""
        fakes = fakes.detach()
        if self.size == 0:
            return fakes
        first, total = rng.place()
        self.deal(total)
        numbers = rng.uniform(len(fakes), 2).tolist()
        return torch.stack([self._exchange((first + n) % total, fake, *numbers[n]) for n, fake in enumerate(fakes)])

    def deal(self, total: int) -> None:
        """Redistribute the fakes over lanes for batches of `total` places; the first are filled first."""
        if total == self.total:
            return
        held = iter([fake for place in sorted(self.lanes) for fake in self.lanes[place]])
        self.total = total
        dealt = {place: list(islice(held, self._room(place))) for place in range(total)}
        self.lanes = {place: lane for place, lane in dealt.items() if lane}

    def keep(self, places: Iterable[int]) -> None:
        self.lanes = {place: self.lanes[place] for place in places if place in self.lanes}

    def join(self, state: Mapping[str, Any]) -> None:
        other = ImagePool(self.size)
        other.set_extra_state(dict(state))
        assert other.total == self.total, (other.total, self.total)
        self.lanes |= other.lanes

    def nbytes(self, picture: int) -> int:
        return self.size * picture

    def _room(self, place: int) -> int:
        return max(self.size * (place + 1) // self.total - self.size * place // self.total, 1)

    def _exchange(self, place: int, fake: Tensor, chance: float, choice: float) -> Tensor:
        lane = self.lanes.setdefault(place, [])
        if lane and lane[0].shape != fake.shape:
            raise CycleganError(
                "the image pool of the saved state holds pictures of another size; start a new run (-o)"
            )
        if len(lane) < self._room(place):
            lane.append(_finite(fake, torch.zeros_like(fake)))
            return fake
        if chance < 0.5:
            return fake
        slot = int(choice * len(lane))
        old = lane[slot].to(fake)  # a restored one may be on another device
        lane[slot] = _finite(fake, old)
        return old

    def get_extra_state(self) -> dict[str, Any]:
        """State for `state_dict()`: the stored pictures, lane by lane, and the place and length of each lane."""
        places = sorted(self.lanes)
        fakes = [fake for place in places for fake in self.lanes[place]]
        return {
            "stored": torch.stack([fake.to(fakes[0]) for fake in fakes]) if fakes else None,
            "lanes": [[place, len(self.lanes[place])] for place in places],
            "total": self.total,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore stored pictures, as many as fit; states from before there were lanes hold all in one."""
        stored = state["stored"]
        if stored is not None and torch.is_complex(stored):
            raise ValueError("the fakes of an image pool are real numbers")
        fakes = iter(() if stored is None else stored.unbind())
        lanes = state.get("lanes", [[0, 0 if stored is None else len(stored)]])
        self.total = max(int(state.get("total", 1)), 1)
        held = {place: list(islice(fakes, count)) for place, count in lanes}
        self.lanes = {place: lane[: self._room(place)] for place, lane in held.items()}

    def _apply(self, fn: Any, recurse: bool = True) -> ImagePool:
        super()._apply(fn, recurse)
        self.lanes = {place: [fn(fake) for fake in lane] for place, lane in self.lanes.items()}
        return self


def _finite(fake: Tensor, fallback: Tensor) -> Tensor:
    """A copy of `fake`, or `fallback` if it is not finite and would poison a later step.

    Decided on the device, without synchronisation. A view would keep its whole batch in memory.
    """
    return torch.where(torch.isfinite(fake).all(), fake, fallback)
