"""Progress display: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text


class Progress:
    """No display, and the base of those that are one. Entered when the first step begins."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        return None

    def advance(self, step: int) -> None:
        """Show that `step` steps are done."""

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Show the figures of a row of the journal."""


class Bar(Progress):
    """A live bar with the newest figures on a line below: beside it they would need 130 columns."""

    def __init__(self, start: int, steps: int) -> None:
        console = Console(stderr=True)
        self.bar = RichProgress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), console=console
        )
        self.task = self.bar.add_task("", total=steps, completed=start)
        self.figures = Text()
        self.live = Live(Group(self.bar, self.figures), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.live.stop()

    def advance(self, step: int) -> None:
        self.bar.update(self.task, completed=step)

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        self.figures.plain = summary(figures)


class Lines(Progress):
    """A line every ten seconds at most, for logs."""

    INTERVAL = 10.0  # seconds between two lines

    def __init__(self, start: int, steps: int) -> None:
        self.first = start
        self.steps = steps
        self.began = self.written = time.monotonic()

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.written < self.INTERVAL and step != self.steps:
            return
        self.written = now
        left = timedelta(seconds=round((now - self.began) / max(step - self.first, 1) * (self.steps - step)))
        print(f"step {step}/{self.steps}  {left} left  {summary(figures)}", file=sys.stderr, flush=True)  # noqa: T201


def open_progress(start: int, steps: int) -> Progress:
    """A bar where stderr is a terminal, else lines."""
    return Bar(start, steps) if sys.stderr.isatty() else Lines(start, steps)


def summary(figures: Mapping[str, float]) -> str:
    """`4.2 images/s  data wait 1%  adversarial 0.31  cycle 1.20 …`, each loss the mean over the domains."""
    losses: dict[str, list[float]] = defaultdict(list)
    for name, value in figures.items():
        if name.startswith("loss/"):
            losses[name.removeprefix("loss/").removesuffix("_a").removesuffix("_b")].append(value)
    parts = [
        f"{figures['speed/images_per_second']:.1f} images/s",
        f"data wait {figures['speed/data_wait']:.0%}",
    ]
    parts += [f"{name} {sum(values) / len(values):.3f}" for name, values in losses.items()]
    return "  ".join(parts)
