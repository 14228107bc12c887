"""Signals that ask a program to stop."""

from __future__ import annotations

import signal

# Ctrl-C; a batch system's or a container's end; a terminal that closes; what `sbatch --signal=USR1@120` sends
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def stop_signals() -> list[signal.Signals]:
    """`STOP_SIGNALS`, without SIGHUP if this process was started ignoring it, as by `nohup`.

    An ignored SIGINT is handled all the same: the shell of a script ignores it for every command ended by `&`.
    """
    return [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
