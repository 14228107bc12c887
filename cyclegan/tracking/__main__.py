"""`python -m cyclegan.tracking RUN`: send to Weights & Biases what of a run has not arrived there.

With `--follow MODE` it is the process that a trainer starts for itself and talks to: a line on its input, or the end
of that input, says that the training has ended; lines of JSON on its output are what the trainer should know.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path

from cyclegan.errors import CycleganError, UsageError
from cyclegan.tracking.journal import FILE
from cyclegan.tracking.wandb_process import (
    EXIT_CODES,
    FOLDER,
    SESSION,
    StopFlag,
    client_variables,
    give_up,
    upload_rows,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one session of either kind; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cyclegan.tracking", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory, as cyclegan train made it")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for the upload (default 600)")
    parser.add_argument("--follow", choices=["online", "offline"], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.follow:
        return follow(given.run, given.follow, given.deadline)
    try:
        upload(given.run, given.deadline)
    except CycleganError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def upload(run: Path, deadline: float) -> None:
    """Send the rows of `run` that the service does not have. Raises `CycleganError` when that fails."""
    if not (run / FOLDER / SESSION).is_file() or not (run / FILE).is_file():
        raise UsageError(
            f"{run} is no run tracked by Weights & Biases (it has no {FILE} or no {FOLDER}/{SESSION}); name one"
        )
    os.environ.update(client_variables(run))
    try:
        upload_rows(run, "online", StopFlag("done"), _tell_person, deadline=deadline, patience=0, pid=os.getpid())
    except CycleganError:
        raise
    except Exception as error:
        raise CycleganError(f"the upload failed: {_one_line(error)}; try again later") from error


def follow(run: Path, mode: str, deadline: float) -> int:
    """Hand over rows for the trainer at the other end of the pipe until it ends. Errors become words to it."""
    ending = StopFlag()
    threading.Thread(target=_listen, args=(ending, deadline), daemon=True).start()
    try:
        upload_rows(run, mode, ending, _tell_trainer, deadline=deadline, patience=2 * deadline, pid=os.getppid())
    except Exception as error:
        _tell_trainer("failed", _one_line(error))
        return 1
    _tell_trainer("done", "")
    return 0


def _listen(ending: StopFlag, deadline: float) -> None:
    line = sys.stdin.readline().strip()
    status = line if line in EXIT_CODES else "failed"  # the input of a trainer that was killed just ends
    give_up(deadline + 5)
    ending.set(status)


def _tell_trainer(kind: str, text: str) -> None:
    try:
        sys.stdout.write(json.dumps({"kind": kind, "text": text}) + "\n")
        sys.stdout.flush()
    except OSError:  # the trainer is gone; what is left to do needs no listener
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)


def _tell_person(_kind: str, text: str) -> None:
    sys.stderr.write(f"curves at {text}\n")


def _one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())


if __name__ == "__main__":
    sys.exit(main())
