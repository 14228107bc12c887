"""Send the rows of a run that are missing in Weights & Biases.

With `--follow MODE`, `python -m cyclegan.tracking RUN` is the subprocess of a trainer: a line on its input, or the end
of that input, means that training has ended; its output are messages to the trainer, as lines of JSON.
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
    """Run one session of either kind and return the exit code."""
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
    """Send the rows of `run` that the service does not have. Raises `CycleganError` if that fails."""
    if not (run / FOLDER / SESSION).is_file() or not (run / FILE).is_file():
        raise UsageError(
            f"{run} is not a run tracked by Weights & Biases (it has no {FILE} or no {FOLDER}/{SESSION}); name one"
        )
    os.environ.update(client_variables(run))
    try:
        upload_rows(run, "online", StopFlag("done"), _tell_person, deadline=deadline, patience=0, pid=os.getpid())
    except CycleganError:
        raise
    except Exception as error:
        raise CycleganError(f"the upload failed: {_one_line(error)}; try again later") from error


def follow(run: Path, mode: str, deadline: float) -> int:
    """Send rows until the trainer at the other end of the pipe ends; errors become messages to it."""
    stop = StopFlag()
    threading.Thread(target=_listen, args=(stop, deadline), daemon=True).start()
    try:
        upload_rows(run, mode, stop, _tell_trainer, deadline=deadline, patience=2 * deadline, pid=os.getppid())
    except Exception as error:
        _tell_trainer("failed", _one_line(error))
        return 1
    _tell_trainer("done", "")
    return 0


def _listen(stop: StopFlag, deadline: float) -> None:
    line = sys.stdin.readline().strip()
    status = line if line in EXIT_CODES else "failed"  # the input of a killed trainer just ends
    give_up(deadline + 5)
    stop.set(status)


def _tell_trainer(kind: str, text: str) -> None:
    try:
        sys.stdout.write(json.dumps({"kind": kind, "text": text}) + "\n")
        sys.stdout.flush()
    except OSError:  # the trainer is gone; finish without it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)


def _tell_person(_kind: str, text: str) -> None:
    sys.stderr.write(f"curves at {text}\n")


def _one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())


if __name__ == "__main__":
    sys.exit(main())
