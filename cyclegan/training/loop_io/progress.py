"""What the person at the terminal sees while a run goes on: a bar, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text


class Progress(Protocol):
    """What the loop tells. A context manager, entered when the first step begins."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def advance(self, step: int) -> None:
        """`step` steps are done."""

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of a row."""


class Bar:
    """A live bar on a terminal, and the newest figures in a line below it: beside it they would need 130 columns."""

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=step)

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Change the line below the bar."""
        self.figures.plain = summary(figures)


class Lines:
    """A line now and then, for logs."""

    INTERVAL = 10.0  # seconds between two lines

    def __init__(self, start: int, steps: int) -> None:
        self.first = start
        self.steps = steps
        self.began = self.said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, step: int) -> None:
        """A line is written with figures only."""

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Write a line if the last was long enough ago, or if this is the end."""
        now = time.monotonic()
        if now - self.said < self.INTERVAL and step != self.steps:
            return
        self.said = now
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
