"""What the processes after the first have in place of what writes: they compute the same and leave nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.setup import ResolvedRun
from cyclegan.training.storage.checkpoint import HasState
from cyclegan.training.storage.run_directory import RunDirectory, open_run


class NullRun:
    """In place of the directory of a run that the first process holds: what that one read there."""

    def __init__(self, began: bool) -> None:
        self.began = began
        self.meta: dict[str, Any] = {}

    def status(self, status: str, step: int, reason: str = "") -> None:
        """The first writes it."""


class NullTracker:
    """In place of the tracker."""

    note = ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The first does."""

    def images(self, step: int, name: str, path: Path, columns: Sequence[str] = ()) -> None:
        """The first does."""

    def model(self, step: int, path: Path, best: bool = False) -> None:
        """The first does."""

    def table(self, step: int, path: Path) -> None:
        """The first does."""

    def alarm(self, step: int, name: str, text: str, figure: float) -> None:
        """The first does."""

    def finish(self, status: str = "done") -> None:
        """Nothing was begun."""


class NullSaver:
    """In place of the saver."""

    def check(self) -> None:
        """Nothing is under way."""

    def save(self, step: int, *, about: dict[str, Any], final: bool, **lasting: HasState) -> None:
        """The first does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        return None


class NullProgress(NullSaver):
    """In place of the bar."""

    def advance(self, step: int) -> None:
        """Nobody looks."""

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Nobody looks."""


@contextlib.contextmanager
def hold_run(ranks: Ranks, plan: ResolvedRun, pictures: dict[str, Any]) -> Iterator[RunDirectory | NullRun]:
    """The run directory, held by rank 0; see `open_run`, whose errors reach all ranks."""
    with contextlib.ExitStack() as held:
        runs: list[RunDirectory] = []

        def hold() -> bool:
            runs.append(held.enter_context(open_run(plan.path, plan.config, plan.domains, pictures, plan.game)))
            return runs[0].began

        began = ranks.on_rank_zero(hold)
        yield runs[0] if runs else NullRun(began)
