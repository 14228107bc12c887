"""Launcher of several processes on this machine, by torchrun's engine: `cyclegan train --nproc N`.

The same as `torchrun --standalone --nproc-per-node N -m cyclegan train …`, but it forwards SIGUSR1 as well, logs
nothing of its own, and ends with the exit code of the processes, where torchrun has 1 for all.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cyclegan.errors import CycleganError
from cyclegan.system.signals import stop_signals
from cyclegan.training.distributed.process_group import LAUNCHER

_EXIT_CODES = {"done": 0, "failed": 1}  # by status.json, where they are not those of a signal


class ProcessesEnded(CycleganError):
    """The processes failed and have reported why."""

    already_reported = True

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the processes ended with {exit_code}")
        self.exit_code = exit_code


def launch(count: int, words: Sequence[str], run: Path) -> None:
    """Run `cyclegan words…`, which trains in `run`, in `count` processes, and wait for them.

    Raises `ProcessesEnded` with the exit code of the first that failed, and `CycleganError` when one was killed. A
    signal after the end of training changes nothing, as with a single process.
    """
    before, signals = _status(run), [*stop_signals(), signal.SIGQUIT]
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))  # more would only queue
    os.environ[LAUNCHER] = str(os.getpid())
    logging.disable(logging.ERROR)  # of torchrun; the processes report their errors, and this function its own
    with tempfile.TemporaryDirectory(prefix="cyclegan-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=secrets.token_hex(8),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
            signals_to_handle=",".join(number.name for number in signals),
        )
        try:
            try:
                elastic_launch(config, sys.executable)("-m", "cyclegan", *words)
            finally:  # it leaves its handlers behind, and later signals come too late for anything
                for number in signals:
                    signal.signal(number, signal.SIG_IGN)
        except SignalException as event:
            now = _status(run)
            code = _EXIT_CODES.get(now[1] if now != before else "", 128 + event.sigval)
            if code:
                raise ProcessesEnded(code) from event
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode >= 0:
                raise ProcessesEnded(failure.exitcode) from error
            raise CycleganError(
                f"process {rank} of {count} was killed by {signal.Signals(-failure.exitcode).name}, which ended the "
                "others; the last saved state is good, run the same command again"
            ) from error
        finally:
            del os.environ[LAUNCHER]
            logging.disable(logging.NOTSET)


def _status(run: Path) -> tuple[int, str]:
    """Time of status.json in ns, and the status in it; (0, "") where there is none."""
    path = run / "status.json"
    try:
        return path.stat().st_mtime_ns, str(json.loads(path.read_bytes())["status"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, ""
