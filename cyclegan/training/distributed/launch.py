"""Several processes on this machine, by the engine of torchrun: `cyclegan train --nproc N`.

The same as `torchrun --standalone --nproc-per-node N -m cyclegan train …`, but that it hands SIGUSR1 on as well, says
nothing of its own, and ends with the exit code that the processes end with, where torchrun has 1 for all.
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

_OVER = {"done": 0, "failed": 1}  # exit codes of what status.json may say, where they are not those of a signal


class ProcessesEnded(CycleganError):
    """The processes have ended otherwise than well, and have said why."""

    already_reported = True

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the processes ended with {exit_code}")
        self.exit_code = exit_code


def launch(count: int, words: Sequence[str], run: Path) -> None:
    """Run `cyclegan words…`, which trains in `run`, in `count` processes, and wait for them.

    Raises `ProcessesEnded` with the exit code of the first that failed, and `CycleganError` when one was killed. A
    signal that comes when the training is over changes nothing, as with a single process.
    """
    before, signals = _status(run), [*stop_signals(), signal.SIGQUIT]
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))  # threads would only queue
    os.environ[LAUNCHER] = str(os.getpid())
    logging.disable(logging.ERROR)  # torchrun's words; the processes have said theirs, and so do we
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
            finally:  # it leaves its handlers behind, and what comes from here on comes too late for anything
                for number in signals:
                    signal.signal(number, signal.SIG_IGN)
        except SignalException as event:
            now = _status(run)
            code = _OVER.get(now[1] if now != before else "", 128 + event.sigval)
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
    """When status.json was written, in ns, and what it says; of a run that has none yet, 0 and nothing."""
    path = run / "status.json"
    try:
        return path.stat().st_mtime_ns, str(json.loads(path.read_bytes())["status"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, ""
