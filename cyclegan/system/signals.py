"""The signals by which a program is asked to stop."""

from __future__ import annotations

import signal

# Ctrl-C; a batch system's or a container's end; a terminal that closes; what `sbatch --signal=USR1@120` sends
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def stop_signals() -> list[signal.Signals]:
    """`STOP_SIGNALS` without SIGHUP where this process was started to ignore it, as `nohup` has it.

    SIGINT is heeded even so: the shell of a script ignores it for whatever has an `&` behind it, asked or not.
    """
    return [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
