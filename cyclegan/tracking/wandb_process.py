"""Upload of a journal's rows through the Weights & Biases client, in a process beside training.

A separate process that follows the journal as a file has four advantages. A client that is slow, hangs, crashes or runs
out of memory does not affect training. The client's exit hooks wait for the network without a bound; here they end with
this process. Nothing is queued, so nothing can overflow. And if the trainer is killed, this process sees its input
close, sends the last rows and closes the run.

A session starts after the rows that were uploaded before. Online, the service itself reports how many rows it has;
they are always the first of the journal, so all later rows are sent, whether new or lost when the last session ended
badly. Offline, a small file beside the client's folders counts the rows; `wandb sync` appends the folders of one run to
each other.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.errors import CycleganError, UsageError
from cyclegan.system.files import locked
from cyclegan.tracking.journal import FILE, Reader
from cyclegan.tracking.wandb_rows import WandbRows, is_point

if TYPE_CHECKING:
    import wandb

FOLDER = "wandb"  # in the run directory; the client makes its own folders in it
SESSION = "session.json"  # in that folder: {"id", "project", "name", "config"}
POLL = 0.5  # seconds between reads of the journal
INIT_TIMEOUT = 30.0  # seconds for the service to answer the first request

# status of a run -> exit code that the service shows as finished, crashed or failed
EXIT_CODES = {"done": 0, "preempted": 1, "failed": 1}

Notify = Callable[[str, str], None]  # kind of message ("url") and its text


class StopFlag(threading.Event):
    """End of training, set once by the thread that listens to the trainer, after its status."""

    status = "failed"


class UploadCount:
    """Persistent count of the journal rows that the client has accepted, in a file of one line.

    `certain` is false from the start of an online session until its upload is confirmed: only the service knows then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text() if path.exists() else ""
        content: dict[str, Any] = json.loads(text) if text.strip() else {"rows": 0, "certain": True}
        self.rows: int = content["rows"]
        self.certain: bool = content["certain"]
        self._stream = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 (closed by close)

    def save(self, rows: int, certain: bool) -> None:
        """Save the count, by one small write in place, since this happens for every row."""
        self.rows, self.certain = rows, certain
        self._stream.seek(0)
        self._stream.write(json.dumps({"rows": rows, "certain": certain}).ljust(64).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def upload_rows(
    run: Path, mode: str, stop: StopFlag, notify: Notify, *, deadline: float, patience: float, pid: int
) -> None:
    """Follow the journal of `run` until `stop` is set, and send its rows in `mode` online or offline.

    `deadline` bounds, in seconds, the work after the end; `patience` is how long to wait for another session of the
    run; `pid` is the process whose load the client measures. Raises whatever the client raises, `TimeoutError` included
    if the upload did not finish in time, and `CycleganError` if the session cannot be locked.
    """
    folder = run / FOLDER
    with _wait_for_lock(folder, patience):
        uploaded = UploadCount(folder / "handed.json")
        try:
            if mode == "offline" and not uploaded.certain:
                raise CycleganError("an earlier online session ended without confirming what has arrived")
            client = _open_client(folder, mode, deadline, pid)
            if mode == "online":
                uploaded.save(0 if _supersede(folder) else uploaded.rows, certain=False)
                notify("url", client.url or "")
            rows = _follow(run, mode, client, stop, uploaded)
            if stop.status == "preempted":
                client.mark_preempting()
            client.finish(exit_code=EXIT_CODES[stop.status])
            uploaded.save(rows, certain=True)
        finally:
            uploaded.close()


def _follow(run: Path, mode: str, client: wandb.Run, stop: StopFlag, uploaded: UploadCount) -> int:
    """Send rows until the trainer has ended and none is left; return the length of the journal."""
    reader = Reader(run / FILE)
    wandb_rows = WandbRows(run, client)
    rows = points = 0
    while True:
        ended = stop.is_set()  # read before the rows, so that no earlier row is missed
        for row in reader.new():
            wandb_rows.learn(row)
            # the service does not count artifacts; it recognises one that had arrived by its content
            counted = mode == "online" and is_point(row)
            known = points < client.starting_step if counted else rows < uploaded.rows
            if not known:
                wandb_rows.show(row)
            rows += 1
            points += is_point(row)
            if mode == "offline" and not known:
                uploaded.save(rows, certain=True)
        if ended:
            wandb_rows.summarise()
            return rows
        stop.wait(POLL)


def _open_client(folder: Path, mode: str, deadline: float, pid: int) -> wandb.Run:
    import wandb

    session = json.loads((folder / SESSION).read_text())
    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,  # the address of a remote may hold a password
        disable_job_creation=True,
        x_disable_meta=True,  # user name, host, command line
        x_save_requirements=False,
        init_timeout=INIT_TIMEOUT,
        finish_timeout=0.8 * deadline,  # so that it can still report the timeout itself
        finish_timeout_raises=True,
        x_stats_pid=pid,
    )
    return wandb.init(
        **session,
        dir=str(folder.parent),
        mode="online" if mode == "online" else "offline",
        resume="allow",
        settings=settings,
    )


def _supersede(folder: Path) -> bool:
    """Mark offline sessions as synced, since this one sends their rows; return whether there were any.

    The mark is that of `wandb sync`; without it a later sync would send the rows a second time.
    """
    marks = [log.with_name(log.name + ".synced") for log in folder.glob("offline-run-*/run-*.wandb")]
    waiting = [mark for mark in marks if not mark.exists()]
    for mark in waiting:
        mark.touch()
    return bool(waiting)


def _wait_for_lock(folder: Path, patience: float) -> ExitStack:
    """Lock the folder, waiting for the session of a killed trainer to finish. Raises `CycleganError`."""
    end = time.monotonic() + patience
    held = ExitStack()
    while True:
        try:
            held.enter_context(locked(folder))
            return held
        except CycleganError:
            if time.monotonic() > end:
                raise
            time.sleep(POLL)


def client_variables(run: Path) -> dict[str, str]:
    """Environment of the client: its files stay in the run, and it reports no errors of its own.

    Artifacts of an offline session are staged in the data folder until they are synced; outside the run they would be
    lost when it is moved.
    """
    folder = (run / FOLDER).absolute()
    folders = {"WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache")}
    return folders | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def sync(run: Path, deadline: float, tell: Callable[[str], None]) -> None:
    """Send the rows of `run` that the service does not have; `tell` receives the run's web address.

    Raises `CycleganError` if that fails, `UsageError` for a run that is not tracked.
    """
    if not (run / FOLDER / SESSION).is_file() or not (run / FILE).is_file():
        raise UsageError(
            f"{run} is not a run tracked by Weights & Biases (it has no {FILE} or no {FOLDER}/{SESSION}); name one"
        )
    os.environ.update(client_variables(run))
    stop = StopFlag()
    stop.status = "done"
    stop.set()
    try:
        upload_rows(run, "online", stop, lambda _, text: tell(text), deadline=deadline, patience=0, pid=os.getpid())
    except CycleganError:
        raise
    except Exception as error:
        raise CycleganError(f"the upload failed: {one_line(error)}; try again later") from error


def one_line(error: Exception) -> str:
    """Message of an error on one line."""
    return " ".join((str(error) or type(error).__name__).split())
