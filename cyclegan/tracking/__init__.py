"""Metrics of a training run: the journal `metrics.jsonl`, and optionally Weights & Biases.

The journal is authoritative; Weights & Biases gets a copy from a separate process that reads the journal. Hence
training never waits for the network, and rows that did not reach the service can be sent at any later time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cyclegan.errors import reason_of
from cyclegan.tracking.journal import ALARM, ALARM_FIGURE, BEST, GRID_COLUMNS, MODEL, TABLE, Journal
from cyclegan.tracking.wandb_launcher import WandbProcess, describe_session, pick_mode, sync_command
from cyclegan.tracking.wandb_process import EXIT_CODES

__all__ = ["Recorder", "Tracker", "open_tracker"]

logger = logging.getLogger("cyclegan")


class Recorder(Protocol):
    """Interface of a metrics recorder; see `Tracker`."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def images(self, step: int, name: str, path: Path, columns: Sequence[str] = ()) -> None: ...
    def model(self, step: int, path: Path, best: bool = False) -> None: ...
    def table(self, step: int, path: Path) -> None: ...
    def alarm(self, step: int, name: str, text: str, figure: float) -> None: ...
    def finish(self, status: str = "done") -> None: ...


class Tracker:
    """Metrics recorder of the training loop. No call waits for anything but the local disk.

    No call raises for errors of the disk or of the service either: they are logged once, on the logger `cyclegan`.
    """

    def __init__(
        self, run: Path, journal: Journal, process: WandbProcess | None, *, run_id: str | None, note: str
    ) -> None:
        self.run_id = run_id  # of the Weights & Biases run; stored with the run and passed again on resume
        self.note = note  # one line: where the curves are
        self._run = run
        self._journal = journal
        self._process = process
        self._disk_failed = False
        self._finished = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of `step`. Those on record from before a resume are ignored."""
        self._append(step, values)

    def images(self, step: int, name: str, path: Path, columns: Sequence[str] = ()) -> None:
        """Record an image file of the run directory under the name of its panel, e.g. `samples/a2b`.

        `columns` are the headings of a sample grid.
        """
        headings = {f"{GRID_COLUMNS}{name}": ", ".join(columns)} if columns else {}
        self._append(step, {name: self._inside(path), **headings})

    def model(self, step: int, path: Path, best: bool = False) -> None:
        """Record a generators file of the run directory; it becomes an artifact version of the run.

        The `best` generators so far take the alias `best` from earlier ones, whose file they may have replaced.
        """
        self._append(step, {BEST if best else MODEL: self._inside(path)})

    def table(self, step: int, path: Path) -> None:
        """Record a `gallery.json` of held-out pictures in the run directory; one table per direction."""
        self._append(step, {TABLE: self._inside(path)})

    def alarm(self, step: int, name: str, text: str, figure: float) -> None:
        """Record an alarm; it becomes an alert, once.

        `name` is lower-case words with hyphens, `text` a sentence or two, `figure` the measured value.
        """
        self._append(step, {f"{ALARM}{name}": text, f"{ALARM_FIGURE}{name}": figure})

    def finish(self, status: str = "done") -> None:
        """End with status `done`, `preempted` or `failed`; waits for the upload, at most until the deadline."""
        assert status in EXIT_CODES, f"status {status!r} is not one of {', '.join(EXIT_CODES)}"
        if self._finished:
            return
        self._finished = True
        self._journal.close()
        if self._process:
            self._process.finish(status)

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
                    reason_of(error),
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
    """Open the tracker of an existing run directory that is locked by this process.

    `mode` is auto, online, offline or disabled. `run_id` is the Weights & Biases run to continue; the default is the
    one of an earlier session, else a new one. `deadline` bounds `finish`, in seconds. Raises `UsageError` if the mode
    is not available, and `OSError` if the run directory cannot be written.
    """
    mode, reason = pick_mode(mode)
    reason = f" ({reason})" if reason else ""
    journal, process, note = Journal(run), None, f"off{reason}"
    if mode != "disabled":
        run_id = describe_session(run, run_id=run_id, project=project, name=name, config=config)
        note = f"{'continuing' if resumed else 'starting'} run {run_id} of project {project}"
        if mode == "offline":
            note = f"offline{reason}; upload later with: {sync_command(run)}"
        try:
            process = WandbProcess(run, mode, deadline)
        except OSError as error:
            logger.warning(
                "Weights & Biases cannot be started (%s); the figures are in metrics.jsonl", reason_of(error)
            )
            note = "off"
    return Tracker(run, journal, process, run_id=run_id, note=f"Weights & Biases: {note}")
