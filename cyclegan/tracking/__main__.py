"""Subprocess of a trainer for Weights & Biases: `python -m cyclegan.tracking RUN --follow MODE`.

A line on its input, or the end of that input, means that training has ended; its output are messages to the trainer, as
lines of JSON. `cyclegan sync` does the same by hand, afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path

from cyclegan.tracking.wandb_process import EXIT_CODES, StopFlag, one_line, upload_rows


def main() -> int:
    """Send rows until the trainer at the other end of the pipe ends; errors become messages to it."""
    parser = argparse.ArgumentParser(prog="python -m cyclegan.tracking", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory, as cyclegan train made it")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for the upload (default 600)")
    parser.add_argument("--follow", choices=["online", "offline"], required=True, help="how it is tracked")
    given = parser.parse_args()
    deadline = given.deadline
    stop = StopFlag()
    threading.Thread(target=_listen, args=(stop, deadline), daemon=True).start()
    try:
        patience, trainer = 2 * deadline, os.getppid()
        upload_rows(given.run, given.follow, stop, _tell_trainer, deadline=deadline, patience=patience, pid=trainer)
    except Exception as error:
        _tell_trainer("failed", one_line(error))
        return 1
    _tell_trainer("done", "")
    return 0


def _listen(stop: StopFlag, deadline: float) -> None:
    line = sys.stdin.readline().strip()
    timer = threading.Timer(deadline + 5, os._exit, [1])  # whatever the client is waiting for then
    timer.daemon = True
    timer.start()
    stop.status = line if line in EXIT_CODES else "failed"  # the input of a killed trainer just ends
    stop.set()


def _tell_trainer(kind: str, text: str) -> None:
    try:
        sys.stdout.write(json.dumps({"kind": kind, "text": text}) + "\n")
        sys.stdout.flush()
    except OSError:  # the trainer is gone; finish without it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)


if __name__ == "__main__":
    sys.exit(main())
