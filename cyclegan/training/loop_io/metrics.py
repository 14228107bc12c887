"""A row of the journal: what the steps since the last one came to."""

from __future__ import annotations

import time

from cyclegan.system.devices import peak_memory
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.loop_io.health import RunningMeans, UnreadableImages
from cyclegan.training.update.state import TrainState
from cyclegan.training.update.step import StepResult


class MetricsRow:
    """Makes rows for a run of `players` that begins at `step` and learns from `batches`."""

    def __init__(
        self,
        players: TrainState,
        averages: RunningMeans,
        pictures: UnreadableImages,
        batches: DeviceLoader,
        step: int,
        ranks: Ranks,
    ) -> None:
        self.players = players
        self.averages = averages
        self.pictures = pictures
        self.batches = batches
        self.ranks = ranks
        self.since, self.step = time.perf_counter(), step

    def leave_out(self, seconds: float) -> None:
        """Some of the time was no time of training."""
        self.since += seconds

    def row(self, step: int, outcome: StepResult, skipped: int) -> dict[str, float]:
        """The figures of the steps since the last row, of which `outcome` is the newest. Waits for the device.

        The same for each of several processes: means over them, of memory the most.
        """
        players = self.players
        elapsed = time.perf_counter() - self.since
        row = self.averages.read()
        with players.precision.autocast():
            scores = players.method.scores(outcome.batch, outcome.images)
        row |= {f"scores/{name}": float(score) for name, score in scores.items()}
        row |= {
            "speed/images_per_second": (step - self.step) * players.config.batch_size / elapsed,
            "speed/data_wait": self.batches.waited / elapsed,
        }
        row = self.ranks.mean(row)
        for unreadable in self.ranks.all_gather(self.pictures.unreadable):
            self.pictures.unreadable |= unreadable
        row |= {
            "learning_rate/generators": players.generators.optimizer.param_groups[0]["lr"],
            "learning_rate/discriminators": players.discriminators.optimizer.param_groups[0]["lr"],
            "memory/peak_gib": self.ranks.all_reduce_max(peak_memory(players.device)),
            "health/skipped_steps": skipped,
            "health/unreadable_pictures": len(self.pictures.unreadable),
        }
        return row

    def begin(self, step: int) -> None:
        """The row is out; what follows belongs to the next."""
        self.since, self.batches.waited, self.step = time.perf_counter(), 0.0, step
