"""Alarms about numbers and time: skipped steps, and a device that waits for data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, RunInfo

SKIPPED, AMONG = 3, 100  # steps; one now and then does no harm, since it is skipped
WAITING = 0.5  # share of the time
WAITING_SECONDS = 30.0  # for so long


class NotFinite(Alarm):
    """Losses or gradients that are not finite: an overflow, or a division by zero."""

    observes = "row"
    patience = 1
    restartable = True
    cause = "a learning rate that is too high, or numbers beyond what the precision holds"
    cure = "go on from the last state with --precision fp32, --clip-gradient 1 or lower learning rates"

    def __init__(self, facts: RunInfo) -> None:
        super().__init__(facts)
        self.counts: list[tuple[int, int]] = [(0, 0)]  # step, skipped until then

    def look(self, observation: Observation) -> Finding | None:
        total = int(observation.figures["health/skipped_steps"])
        self.counts.append((observation.step, total))
        while len(self.counts) > 2 and self.counts[1][0] <= observation.step - AMONG:
            del self.counts[0]
        if self.facts.config.precision == "fp16" and observation.step <= AMONG:
            self.counts = [(observation.step, total)]  # it finds its loss scale by overflowing some times at first
        since, before = self.counts[0]
        if total - before < SKIPPED:
            return None
        return self.finding(total - before, observation.step - since)

    @staticmethod
    def finding(skipped: int, among: int) -> Finding:
        """The finding that `skipped` of `among` steps were not finite."""
        return Finding(
            float(skipped),
            f"{skipped} of the last {among} steps had a loss or gradient that is not finite, and were skipped",
        )

    def state_dict(self) -> dict[str, Any]:
        return {"counts": [list(count) for count in self.counts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = [(int(step), int(total)) for step, total in state["counts"]]


class WaitingForData(Alarm):
    """Reading pictures takes longer than learning from them.

    Nothing of it is saved: times hold for this machine and this start.
    """

    observes = "row"
    patience = 1
    cause = "decoding and augmentation are slower than the device, or the disk is"
    cure = (
        "raise --workers to the number of cores, keep decoded pictures with --cache ram or disk, or store them smaller "
        "(about --load-size)"
    )

    def __init__(self, facts: RunInfo) -> None:
        super().__init__(facts)
        self.rows: list[tuple[float, float]] = []  # seconds, of which waited
        self.step = -1

    def look(self, observation: Observation) -> Finding | None:
        speed, share = observation.figures["speed/images_per_second"], observation.figures["speed/data_wait"]
        before, self.step = self.step, observation.step
        if before < 0:  # the readers start in the first row
            return None
        seconds = (observation.step - before) * self.facts.config.batch_size / speed if speed > 0 else math.nan
        if not math.isfinite(seconds * share):
            return None
        self.rows.append((seconds, seconds * share))
        total, waited = (sum(row[place] for row in self.rows) for place in (0, 1))
        while total - self.rows[0][0] >= WAITING_SECONDS:
            gone = self.rows.pop(0)
            total, waited = total - gone[0], waited - gone[1]
        if total < WAITING_SECONDS or waited < WAITING * total:
            return None
        return Finding(waited / total, f"{waited / total:.0%} of the time is spent waiting for pictures")
