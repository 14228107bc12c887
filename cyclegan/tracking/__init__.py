"""What a run leaves on record while it trains: `metrics.jsonl` always, curves in Weights & Biases beside it.

The journal is the truth and Weights & Biases a copy of it, made by a process of its own that reads the journal. Hence a
training never waits for a network, and what did not reach the service can be sent at any later time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cyclegan.tracking.journal import ALARM, ALARM_FIGURE, BEST, GRID_COLUMNS, MODEL, TABLE, Journal
from cyclegan.tracking.wandb_launcher import (
    WandbProcess,
    describe_session,
    pick_mode,
    sync_command,
    upload_command,
)
from cyclegan.tracking.wandb_process import EXIT_CODES

__all__ = ["Recorder", "Tracker", "open_tracker", "upload_command"]

logger = logging.getLogger("cyclegan")


class Recorder(Protocol):
    """What a training loop tells its figures to; see `Tracker`."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def images(self, step: int, name: str, path: Path, columns: Sequence[str] = ()) -> None: ...
    def model(self, step: int, path: Path, best: bool = False) -> None: ...
    def table(self, step: int, path: Path) -> None: ...
    def alarm(self, step: int, name: str, text: str, figure: float) -> None: ...
    def finish(self, status: str = "done") -> None: ...


class Tracker:
    """What the training loop tells its figures to. No call waits for anything but the local disk.

    No call raises for reasons of the disk or of the service either: what goes wrong is said once, on the logger
    `cyclegan`.
    """

    def __init__(
        self, run: Path, journal: Journal, follower: WandbProcess | None, *, run_id: str | None, note: str
    ) -> None:
        self.run_id = run_id  # of the Weights & Biases run, to be kept with the run and given again on resume
        self.note = note  # one line: where the curves are
        self._run = run
        self._journal = journal
        self._follower = follower
        self._disk_failed = False
        self._finished = False

    @property
    def url(self) -> str | None:
        """The address of the curves, once the service has told it."""
        return self._follower.url if self._follower else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of `step`. Those on record already, from before a resume, are passed over."""
        self._append(step, values)

    def images(self, step: int, name: str, path: Path, columns: Sequence[str] = ()) -> None:
        """A picture that is on the disk, inside the run directory, under the name of its panel, e.g. `samples/a2b`.

        `columns` are the headings of what is side by side in it.
        """
        headings = {f"{GRID_COLUMNS}{name}": ", ".join(columns)} if columns else {}
        self._append(step, {name: self._inside(path), **headings})

    def model(self, step: int, path: Path, best: bool = False) -> None:
        """A file of generators inside the run directory; it becomes a version of an artifact of the run.

        The `best` so far take the alias `best` from those before, in whose file they may be.
        """
        self._append(step, {BEST if best else MODEL: self._inside(path)})

    def table(self, step: int, path: Path) -> None:
        """The `gallery.json` of held-out pictures and their translations, in the run directory; each way is a table."""
        self._append(step, {TABLE: self._inside(path)})

    def alarm(self, step: int, name: str, text: str, figure: float) -> None:
        """Something is wrong with the run; it becomes an alert, once.

        `name` is lower-case words with hyphens, `text` a sentence or two, `figure` what was measured.
        """
        self._append(step, {f"{ALARM}{name}": text, f"{ALARM_FIGURE}{name}": figure})

    def finish(self, status: str = "done") -> None:
        """The training has ended: `done`, `preempted` or `failed`. Waits for the upload, at most until the deadline."""
        assert status in EXIT_CODES, f"status {status!r} is none of {', '.join(EXIT_CODES)}"
        if self._finished:
            return
        self._finished = True
        self._journal.close()
        if self._follower:
            self._follower.finish(status)

    def _inside(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._run)).as_posix()

    def _append(self, step: int, values: Mapping[str, float | str]) -> None:
        try:
            self._journal.append(step, values)
        except OSError as error:
            if not self._disk_failed:
                logger.warning(
                    "cannot write to %s (%s); training goes on, its figures are lost",
                    self._journal.path,
                    error.strerror,
                )
            self._disk_failed = True


def open_tracker(
    run: Path,
    *,
    mode: str,
    project: str,
    config: Mapping[str, Any],
    resumed: bool,
    run_id: str | None,
    name: str,
    deadline: float = 60.0,
) -> Tracker:
    """The tracker of a run directory, which must exist and be held by this process alone.

    `mode` is auto, online, offline or disabled. `run_id` is the Weights & Biases run to continue; without one the
    run's own from an earlier session, or a new one, is taken. `deadline` bounds `finish`, in seconds. Raises
    `UsageError` where the mode cannot be had, and `OSError` where the run directory cannot be written.
    """
    mode, reason = pick_mode(mode)
    journal = Journal(run)
    if mode == "disabled":
        note = f"Weights & Biases: off ({reason})" if reason else "Weights & Biases: off"
        return Tracker(run, journal, None, run_id=run_id, note=note)
    run_id = describe_session(run, run_id=run_id, project=project, name=name, config=config)
    note = f"Weights & Biases: {'continuing' if resumed else 'starting'} run {run_id} of project {project}"
    if mode == "offline":
        note = f"Weights & Biases: offline{f' ({reason})' if reason else ''}; upload later with: {sync_command(run)}"
    try:
        follower = WandbProcess(run, mode, deadline)
    except OSError as error:
        logger.warning("Weights & Biases cannot be started (%s); the figures are in metrics.jsonl", error.strerror)
        return Tracker(run, journal, None, run_id=run_id, note="Weights & Biases: off")
    return Tracker(run, journal, follower, run_id=run_id, note=note)
