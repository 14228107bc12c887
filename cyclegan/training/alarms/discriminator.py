"""Alarms about the balance of the two sides, from the rows of the journal.

Scores are read relative to the equilibrium of the loss, where real and fake can no longer be told apart: one half for
`lsgan` and `bce`, 0 for `hinge`; a real picture scores 1 where the discriminator is sure. `wgan-gp` has no such point,
and none of these is raised for it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, RunInfo

# Scores of one batch scatter by 0.1 to 0.2, so that means are taken over rows of this many steps. A discriminator
# wins early, since it learns faster: its first steps are ignored.
FIRST_STEPS = 100
WINDOW_STEPS = 400
ROWS = 8  # in a window at least
# Mean difference of the scores of real and fake, as a share of that of a certain discriminator. Healthy runs of the
# demo and of horse2zebra stay between 0.15 and 0.4.
STRONG, ACCURATE = 0.8, 0.9
BLIND, EVER_SEEN, FLAT = 0.05, 0.1, 0.03
# Rows of history, and how many times its scatter a loss may lie above their median
HISTORY = 400
RECENT, ENOUGH, FAR = 5, 20, 8.0
SCATTER_SHARE, SCATTER_LEAST = 0.25, 0.05  # of the median; a loss that has been nearly constant may move that much


class MovingWindow:
    """Scores of the last steps in one domain: (step, real, fake)."""

    def __init__(self, equilibrium: float) -> None:
        self.span = 2 * (1 - equilibrium)  # from a certain fake to a certain real
        self.rows: list[tuple[int, float, float]] = []

    def add(self, step: int, real: float, fake: float) -> None:
        """Add a row unless it is not finite; drop the oldest."""
        if step <= FIRST_STEPS or not math.isfinite(real + fake):
            return
        self.rows.append((step, real, fake))
        while len(self.rows) > ROWS and self.rows[1][0] <= step - WINDOW_STEPS:
            del self.rows[0]

    @property
    def full(self) -> bool:
        """True with enough rows to judge by."""
        return len(self.rows) >= ROWS and self.rows[-1][0] - self.rows[0][0] >= WINDOW_STEPS - self._stride

    @property
    def _stride(self) -> int:
        return self.rows[-1][0] - self.rows[-2][0]

    @property
    def means(self) -> tuple[float, float]:
        """Mean scores of real pictures and of fakes."""
        return statistics.fmean(row[1] for row in self.rows), statistics.fmean(row[2] for row in self.rows)

    @property
    def gap(self) -> float:
        """Difference of the means: 0 cannot tell, 1 is certain."""
        real, fake = self.means
        return (real - fake) / self.span


class DiscriminatorAlarm(Alarm):
    """Base of alarms about discriminators: a window of scores for each, and the newest probe."""

    observes = "row"

    def __init__(self, facts: RunInfo) -> None:
        super().__init__(facts)
        self.windows: dict[str, MovingWindow] = {}
        self.probed: dict[str, float] = {}

    def note(self, observation: Observation) -> None:
        if self.facts.equilibrium is None:
            return
        if observation.kind == "probe":
            self.probed = {
                name: value for name, value in observation.figures.items() if name.startswith(("acc", "verdict"))
            }
            return
        for domain in self.facts.discriminator_parameters:
            real, fake = (observation.figures.get(f"scores/{domain}/{kind}", math.nan) for kind in ("real", "fake"))
            self.windows.setdefault(domain, MovingWindow(self.facts.equilibrium)).add(observation.step, real, fake)

    def full_windows(self) -> dict[str, MovingWindow]:
        return {domain: window for domain, window in self.windows.items() if window.full}

    def state_dict(self) -> dict[str, Any]:
        rows = {domain: [list(row) for row in window.rows] for domain, window in self.windows.items()}
        return {"rows": rows, "probed": dict(self.probed)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.facts.equilibrium is None:  # by another --adversarial than before
            return
        for domain, rows in state["rows"].items():
            self.windows[domain] = MovingWindow(self.facts.equilibrium)
            self.windows[domain].rows = [(int(step), float(real), float(fake)) for step, real, fake in rows]
        self.probed = {name: float(value) for name, value in state["probed"].items()}


class DiscriminatorTooStrong(DiscriminatorAlarm):
    """The discriminator is certain of every picture, and its gradients teach little."""

    restartable = True
    cause = (
        "the discriminator learns faster than the generator, or the translations lack something that gives them away"
    )
    cure = (
        "lower --lr-discriminator to a half or a quarter, or hold it with --spectral-norm or --r1 1; a loss of "
        "it near 0 is a sign of failure and not of success"
    )

    def look(self, observation: Observation) -> Finding | None:
        windows = self.full_windows()
        domain = max(windows, key=lambda name: windows[name].gap, default="")
        # One that overfits is not strong; see `few-pictures`
        if not domain or windows[domain].gap < STRONG or self.probed.get(f"accuracy_{domain}", 1.0) < ACCURATE:
            return None
        real, fake = windows[domain].means
        return Finding(
            windows[domain].gap,
            f"the discriminator of {domain.upper()} is certain: real pictures get {real:.2f} and fakes {fake:.2f}, "
            f"where {self.facts.equilibrium:g} is the balance",
        )


class DiscriminatorBlind(DiscriminatorAlarm):
    """The discriminator gives every picture the same score: its gradients teach nothing.

    At the equilibrium scores agree as well. A blind one is told from that by its past, in which it never told real
    from fake, or by its present, in which scores do not even vary from patch to patch.
    """

    cause = "it does not learn: its learning rate is too low or so high that it died, or it sees too little"
    cure = "raise --lr-discriminator, or lower it above 1e-3; give a larger --crop-size or another --discriminator"

    def __init__(self, facts: RunInfo) -> None:
        super().__init__(facts)
        self.widest: dict[str, float] = {}

    def look(self, observation: Observation) -> Finding | None:
        blind = {}
        for domain, window in self.full_windows().items():
            self.widest[domain] = max(self.widest.get(domain, 0.0), window.gap)
            flat = self.probed.get(f"verdict_spread_{domain}", math.inf) < FLAT * window.span
            if abs(window.gap) < BLIND and (flat or self.widest[domain] < EVER_SEEN):
                blind[domain] = window
        if not blind:
            return None
        domain = min(blind, key=lambda name: abs(blind[name].gap))
        real, fake = blind[domain].means
        return Finding(
            blind[domain].gap,
            f"the discriminator of {domain.upper()} does not tell real from fake ({real:.2f} and {fake:.2f}), and "
            "never did or says the same to every patch",
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"widest": dict(self.widest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.widest = {name: float(value) for name, value in state["widest"].items()}


class GeneratorRunningAway(Alarm):
    """A loss of the generators grows far beyond its past.

    Compares the median of the last rows with that of all before, in units of their scatter (1.48 times the median
    absolute deviation, which is the standard deviation of a normal distribution).
    """

    observes = "row"
    patience = 3
    restartable = True
    cause = "the discriminator has run ahead, or a learning rate is too high"
    cure = "go on from an earlier state with --clip-gradient 1 and half of --lr-generator and --lr-discriminator"

    def __init__(self, facts: RunInfo) -> None:
        super().__init__(facts)
        self.history: dict[str, list[float]] = {}
        self.recent: dict[str, list[float]] = {}
        self.rows = 0
        self.stride = 1  # one of so many rows is kept, so that the history spans the whole run

    def note(self, observation: Observation) -> None:
        if observation.kind != "row" or self.facts.equilibrium is None:  # a critic's zero may lie anywhere, and move
            return
        self.rows += 1
        for name, value in observation.figures.items():
            if not name.startswith("loss/") or name.startswith("loss/discriminator") or not math.isfinite(value):
                continue
            recent = self.recent.setdefault(name, [])
            recent.append(value)
            if len(recent) > RECENT:
                left = recent.pop(0)
                if self.rows % self.stride == 0:
                    self.history.setdefault(name, []).append(left)
        if any(len(values) > HISTORY for values in self.history.values()):
            self.history = {name: values[::2] for name, values in self.history.items()}
            self.stride *= 2

    def look(self, observation: Observation) -> Finding | None:
        above = {name: _excess(past, self.recent[name]) for name, past in self.history.items() if len(past) >= ENOUGH}
        name = max(above, key=lambda key: above[key], default="")
        if not name or above[name] < FAR:
            return None
        now, before = statistics.median(self.recent[name]), statistics.median(self.history[name])
        return Finding(
            now,
            f"the curve {name} has run away: {now:.3g}, where {before:.3g} was usual",
        )

    def state_dict(self) -> dict[str, Any]:
        lists = {kind: {name: list(values) for name, values in getattr(self, kind).items()} for kind in _KEPT}
        return lists | {"rows": self.rows, "stride": self.stride}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history, self.recent = (
            {name: [float(value) for value in values] for name, values in state[kind].items()} for kind in _KEPT
        )
        self.rows, self.stride = int(state["rows"]), int(state["stride"])
        if self.stride < 1 or not self.history.keys() <= self.recent.keys():
            raise ValueError("there is no such memory of losses")


_KEPT = ("history", "recent")


def _excess(past: Sequence[float], recent: Sequence[float]) -> float:
    middle = statistics.median(past)
    scatter = 1.4826 * statistics.median(abs(value - middle) for value in past)
    return (statistics.median(recent) - middle) / max(scatter, SCATTER_SHARE * abs(middle), SCATTER_LEAST)
