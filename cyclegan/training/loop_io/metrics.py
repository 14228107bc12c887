"""One row of the journal: the figures of the steps since the last row."""

from __future__ import annotations

import time

from cyclegan.system.devices import peak_memory
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.update.state import TrainState
from cyclegan.training.update.step import StepResult


class MetricsRow:
    """Makes the rows of a run of `state` that begins at `step` and learns from `batches`."""

    def __init__(self, state: TrainState, batches: DeviceLoader, step: int) -> None:
        self.state = state
        self.batches = batches
        self.begin(step)

    def begin(self, step: int) -> None:
        """Begin the interval of the next row."""
        self.since, self.batches.waited, self.step = time.perf_counter(), 0.0, step
        self.pending: StepResult | None = None  # the newest step, in no row yet

    def leave_out(self, seconds: float) -> None:
        """Take `seconds` that were not spent training out of the interval."""
        self.since += seconds

    def row(self, step: int, skipped: int) -> dict[str, float]:
        """The figures since the last row, scores those of the newest step. Waits for the device.

        The same on each rank: means over all of them, of memory the maximum.
        """
        state, ranks, unreadable, result = self.state, self.state.ranks, self.batches.unreadable, self.pending
        assert result is not None, "there is a step to tell of"
        elapsed = time.perf_counter() - self.since
        row = state.means.read()
        with state.precision.autocast():
            scores = state.method.scores(result.batch, result.images)
        row |= {f"scores/{name}": float(score) for name, score in scores.items()}
        row |= {
            "speed/images_per_second": (step - self.step) * state.config.batch_size / elapsed,
            "speed/data_wait": self.batches.waited / elapsed,
        }
        row = ranks.mean(row)
        for paths in ranks.all_gather(unreadable.paths):
            unreadable.paths |= paths
        return row | {
            "learning_rate/generators": state.generators.optimizer.param_groups[0]["lr"],
            "learning_rate/discriminators": state.discriminators.optimizer.param_groups[0]["lr"],
            "memory/peak_gib": ranks.all_reduce_max(peak_memory(state.device)),
            "health/skipped_steps": skipped,
            "health/unreadable_pictures": len(unreadable.paths),
        }
