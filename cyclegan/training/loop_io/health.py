"""Counters and running means of a run, and the conditions under which it must stop."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from cyclegan.errors import CycleganError
from cyclegan.training.distributed.ranks import Ranks

log = logging.getLogger("cyclegan")
rank_log = logging.getLogger("cyclegan.data")  # of facts that only the rank which reads a picture knows

PATIENCE = 10  # steps in a row that may fail to be finite
UNREADABLE_SHARE = 0.05


class NotFiniteError(CycleganError):
    """Too many steps in a `row` were skipped for the run to go on."""

    on_every_rank = True

    def __init__(self, row: int) -> None:
        super().__init__(
            f"{row} steps in a row had a loss or gradient that is not finite; the last good state is kept: "
            "resume from it with lower learning rates, --clip-gradient 1 or --precision fp32"
        )
        self.row = row


class NonFiniteGuard:
    """Counts steps skipped because a loss or a gradient was not finite, without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(3, dtype=torch.long, device=device)  # skipped in all, in a row, longest row

    def update(self, skipped: Tensor) -> None:
        """Add the flag of one step."""
        total, row, longest = self.counts.unbind()
        row = (row + 1) * skipped
        self.counts = torch.stack([total + skipped, row, torch.maximum(longest, row)])

    def check(self) -> int:
        """The number of skipped steps so far; `NotFiniteError` after ten in a row. Waits for the device."""
        total, _, longest = self.counts.tolist()
        if longest >= PATIENCE:
            raise NotFiniteError(longest)
        return int(total)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the total; a resumed run begins a new row."""
        self.counts = torch.zeros_like(self.counts)
        self.counts[0] = state["counts"][0]


class RunningMeans:
    """Means of figures since they were last read, summed on the device by each of `ranks`."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.each: list[dict[str, Tensor]] = []  # the sums of every rank, while a state is made

    def update(self, figures: dict[str, Tensor]) -> None:
        """Add the figures of one step."""
        self.sums = {name: value.float() + self.sums.get(name, 0.0) for name, value in figures.items()}
        self.count += 1
        self.each = []

    def read(self) -> dict[str, float]:
        """Return the means and start afresh. Waits for the device, once."""
        if not self.count:
            return {}
        means = (torch.stack(list(self.sums.values())) / self.count).tolist()
        names = list(self.sums)
        self.sums, self.count = {}, 0
        return dict(zip(names, means, strict=True))

    def gather(self) -> None:
        """Bring the sums of the other ranks to rank 0, which is about to save them."""
        self.each = self.ranks.gather({name: value.cpu() for name, value in self.sums.items()})

    def state_dict(self) -> dict[str, Any]:
        """The gathered sums of a half-filled interval, so that a resumed run reports the same means."""
        means = {name: torch.stack([sums[name] for sums in self.each]).mean(0) for name in self.sums}
        return {"sums": means, "each": self.each, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a half-filled interval: each rank its own sums; of another number of ranks, the means."""
        each = state.get("each", [])
        own = each[self.ranks.rank] if len(each) == self.ranks.world else state["sums"]
        if not all(torch.is_floating_point(value) and value.ndim == 0 for value in own.values()):
            raise ValueError("sums are single numbers")
        self.sums, self.count = dict(own), int(state["count"])


class UnreadableImages:
    """Pictures that cannot be read: each is reported once, and more than 5 % of `count` stop the run.

    Pictures smaller than `crop_size`, which are scaled up, are reported once for all.
    """

    def __init__(self, count: int, crop_size: int) -> None:
        self.count = count
        self.crop_size = crop_size
        self.paths: dict[str, str] = {}  # with reasons
        self.enlarged = 0

    def update(self, unreadable: list[tuple[str, str]], enlarged: list[tuple[str, str]]) -> None:
        """Add what one batch reports, (path, reason) and (path, size); `CycleganError` where it is too much."""
        for path, reason in unreadable:
            if path not in self.paths:
                self.paths[path] = reason
                rank_log.warning("%s cannot be read (%s); other pictures take its place", path, reason)
        if len(self.paths) > UNREADABLE_SHARE * self.count:
            listed = "".join(f"\n  {path}: {reason}" for path, reason in sorted(self.paths.items()))
            raise CycleganError(
                f"{len(self.paths)} of {self.count} pictures cannot be read; mend or remove them "
                f"(`cyclegan data check` finds all):{listed}"
            )
        if enlarged and not self.enlarged:
            path, size = enlarged[0]
            smaller = f"{path} has {size} pixels, less than --crop-size {self.crop_size}"
            log.warning("%s; it, and any other as small, is scaled up", smaller)
        self.enlarged += len(enlarged)
