"""The signals by which a program is asked to stop."""

from __future__ import annotations

import signal

# Ctrl-C; a batch system's or a container's end; a terminal that closes; what `sbatch --signal=USR1@120` sends
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def heeded() -> list[signal.Signals]:
    """Those of `ASKING` that this process was not started to ignore, as `nohup` does with SIGHUP."""
    return [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
