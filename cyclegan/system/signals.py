"""Signals that ask a program to stop."""

from __future__ import annotations

import signal

# Ctrl-C; the end of a batch job or container; a closed terminal; the signal of `sbatch --signal=USR1@120`
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def stop_signals() -> list[signal.Signals]:
    """`STOP_SIGNALS`, without SIGHUP if this process was started ignoring it, as by `nohup`.

    An ignored SIGINT is handled nevertheless: a script's shell makes every command that ends in `&` ignore it.
    """
    return [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
