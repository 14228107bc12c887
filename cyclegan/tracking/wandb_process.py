"""The process that hands the rows of a journal to the Weights & Biases client, while training goes on beside it.

It is a process of its own, and follows the journal as a file, for four reasons. Nothing that the client does, be it
slow, hanging, crashing or out of memory, reaches the training. The client's hooks at the end of a process
wait for the network without a bound; here they end with this process. Nothing is queued, so nothing can overflow.
And where the trainer is killed, this process sees its input close, hands over the last rows and closes the run.

What has been handed over already decides where a session begins. Online, the service itself says how many rows it
holds; they are always the first of the journal, so what comes after them is sent, whether the row
is new or was lost on the way when the last session ended badly. Offline, a small file beside the client's
folders counts the rows; `wandb sync` appends the folders of one run to each other.
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

FOLDER = "wandb"  # in the run directory; the client puts its own folders there
SESSION = "session.json"  # in that folder: {"id", "project", "name", "config"}
POLL = 0.5  # seconds between two looks at the journal
INIT_TIMEOUT = 30.0  # seconds for the service to answer the first question

# how a run ended -> exit code that the service shows as finished, crashed or failed
EXIT_CODES = {"done": 0, "preempted": 1, "failed": 1}

Say = Callable[[str, str], None]  # what it is about ("url") and the text


class StopFlag:
    """Whether the trainer has ended, and how. Set once by the thread that listens to it."""

    def __init__(self, status: str | None = None) -> None:
        self.status = status
        self._event = threading.Event()

    def set(self, status: str) -> None:
        """The trainer has ended so."""
        self.status = status
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the trainer runs."""
        self._event.wait(seconds)


class UploadCount:
    """How many rows of the journal are in the hands of the client for good, in a file of one line.

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
        """Note the count. One small write in place, since this happens for every row."""
        self.rows, self.certain = rows, certain
        self._stream.seek(0)
        self._stream.write(json.dumps({"rows": rows, "certain": certain}).ljust(64).encode() + b"\n")

    def close(self) -> None:
        """Give the file back."""
        self._stream.close()


def upload_rows(
    run: Path, mode: str, ending: StopFlag, say: Say, *, deadline: float, patience: float, pid: int
) -> None:
    """Follow the journal of `run` until `ending`, and hand its rows to the client in `mode` online or offline.

    `deadline` bounds, in seconds, what comes after the ending; `patience` is how long to wait for another session
    of this run; `pid` is the process whose load the client measures. Raises whatever the client raises, `TimeoutError`
    where the upload did not end in time among it, and `CycleganError` where the session cannot be held.
    """
    folder = run / FOLDER
    with _wait_for_lock(folder, patience):
        handed = UploadCount(folder / "handed.json")
        try:
            if mode == "offline" and not handed.certain:
                raise CycleganError("an earlier session online ended without a word on what has arrived")
            client = _open_client(folder, mode, deadline, pid)
            if mode == "online":
                handed.save(0 if _supersede(folder) else handed.rows, certain=False)
                say("url", client.url or "")
            rows = _follow(run, mode, client, ending, handed)
            _close_client(client, ending.status or "failed")
            handed.save(rows, certain=True)
        finally:
            handed.close()


def _follow(run: Path, mode: str, client: wandb.Run, ending: StopFlag, handed: UploadCount) -> int:
    """Hand over rows until the trainer has ended and none is left; how many the journal has."""
    reader = Reader(run / FILE)
    panels = WandbRows(run, client)
    rows = points = 0
    while True:
        ended = ending.status is not None  # asked before the rows are read, so that none written before is missed
        for row in reader.new():
            panels.learn(row)
            # artifacts are not counted by the service; one that arrived after all is recognised there by its content
            counted = mode == "online" and is_point(row)
            known = points < client.starting_step if counted else rows < handed.rows
            if not known:
                panels.show(row)
            rows += 1
            points += is_point(row)
            if mode == "offline" and not known:
                handed.save(rows, certain=True)
        if ended:
            panels.summarise()
            return rows
        ending.wait(POLL)


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
        finish_timeout=0.8 * deadline,  # so that it can still say so itself
        finish_timeout_raises=True,
        x_stats_pid=pid,
    )
    return wandb.init(
        project=session["project"],
        id=session["id"],
        name=session["name"],
        config=session["config"],
        dir=str(folder.parent),
        mode="online" if mode == "online" else "offline",
        resume="allow",
        settings=settings,
    )


def _close_client(client: wandb.Run, status: str) -> None:
    if status == "preempted":
        client.mark_preempting()
    client.finish(exit_code=EXIT_CODES[status])


def _supersede(folder: Path) -> bool:
    """Mark what offline sessions left as synced, and say if there was any: this session sends it from the journal.

    The mark is the one that `wandb sync` makes and heeds; without it a later sync would send the rows a second time.
    """
    marks = [log.with_name(log.name + ".synced") for log in folder.glob("offline-run-*/run-*.wandb")]
    waiting = [mark for mark in marks if not mark.exists()]
    for mark in waiting:
        mark.touch()
    return bool(waiting)


def _wait_for_lock(folder: Path, patience: float) -> ExitStack:
    """Hold the folder, after waiting for a session whose trainer was killed to finish. Raises `CycleganError`."""
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
    """Environment of the client: what it stores goes into the run, and it reports no errors of its own to others.

    Artifacts of an offline session are staged in the data folder until they are synced; outside the run they would be
    left behind when it is moved.
    """
    folder = (run / FOLDER).absolute()
    folders = {"WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache")}
    return folders | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def give_up(seconds: float) -> None:
    """End this process after `seconds`, whatever the client is waiting for."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def sync(run: Path, deadline: float, tell: Callable[[str], None]) -> None:
    """Send the rows of `run` that the service does not have; `tell` is given the address of the curves.

    Raises `CycleganError` when that fails, `UsageError` for a run that is not tracked.
    """
    if not (run / FOLDER / SESSION).is_file() or not (run / FILE).is_file():
        raise UsageError(
            f"{run} is no run tracked by Weights & Biases (it has no {FILE} or no {FOLDER}/{SESSION}); name one"
        )
    os.environ.update(client_variables(run))
    try:
        upload_rows(
            run,
            "online",
            StopFlag("done"),
            lambda kind, text: tell(text),
            deadline=deadline,
            patience=0,
            pid=os.getpid(),
        )
    except CycleganError:
        raise
    except Exception as error:
        raise CycleganError(f"the upload failed: {one_line(error)}; try again later") from error


def one_line(error: Exception) -> str:
    """The words of an error, in one line."""
    return " ".join((str(error) or type(error).__name__).split())
