"""The writers of a run: run directory, tracker, checkpoint saver and progress display."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from cyclegan.tracking import Recorder, open_tracker
from cyclegan.training.loop_io.progress import Progress, open_progress
from cyclegan.training.resolved_run import ResolvedRun
from cyclegan.training.signals import Interrupted, Preempted, StopRequest
from cyclegan.training.storage.async_saver import AsyncSaver
from cyclegan.training.storage.checkpoint import States
from cyclegan.training.storage.run_directory import RunDirectory, open_run

log = logging.getLogger("cyclegan")


class NullWriter:
    """Null object for tracker, saver and run directory on ranks > 0, which compute but never write."""

    def log(self, *arguments: Any, **options: Any) -> None:
        return None

    images = model = table = alarm = finish = log  # of the tracker
    check = save = log  # of the saver
    status = log  # of the run directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        return None


@dataclass(frozen=True)
class RunOutput:
    """All writers of a run; null objects on ranks > 0."""

    directory: RunDirectory | NullWriter
    tracker: Recorder
    saver: AsyncSaver | NullWriter
    progress: Progress


@contextlib.contextmanager
def hold_directory(run: ResolvedRun) -> Iterator[RunDirectory | None]:
    """The run directory, held by rank 0; None on the others. Errors of `open_run` reach all ranks."""
    with contextlib.ExitStack() as held:
        opened: list[RunDirectory] = []

        def hold() -> None:
            opened.append(held.enter_context(open_run(run)))

        run.ranks.on_rank_zero(hold)
        yield opened[0] if opened else None


@contextlib.contextmanager
def open_output(
    directory: RunDirectory | None, run: ResolvedRun, generators: nn.ModuleDict, step: int, stop: StopRequest
) -> Iterator[RunOutput]:
    """Open the writers of `run` from `step` on, and tell the tracker at the end how the run ended.

    `generators` are those that are saved. Saver and progress display are context managers of their own, for the steps.
    """
    if directory is None:
        nothing = NullWriter()
        yield RunOutput(nothing, nothing, nothing, Progress())
        return
    config = run.config
    tracker = open_tracker(
        run.path,
        mode=config.wandb,
        project=config.wandb_project,
        config=run.saved_config,
        resumed=step > 0,
        run_id=directory.meta["tracking_id"],
        name=run.path.name,
    )
    if tracker.note:
        log.info("%s", tracker.note)
    ending = "failed"
    try:
        states, every = States(run.path / "checkpoints"), config.generators_every
        saver = AsyncSaver(directory, states, tracker, generators, run.info, every=every, step=step, stop=stop)
        yield RunOutput(directory, tracker, saver, open_progress(step, run.steps))
        ending = "done"
    except (Preempted, Interrupted):
        ending = "preempted"
        raise
    finally:
        tracker.finish(ending)
