"""A process and those that it started, and they in turn: how much memory each has held at most."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")


def peaks(number: int, proc: Path = PROC) -> dict[int, int]:
    """Bytes by process number, of the process `number` and all below it; empty on systems that do not tell."""
    children: dict[int, list[int]] = defaultdict(list)
    held: dict[int, int] = {}
    for status in proc.glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended since
            rows = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            children[int(rows["PPid"])].append(int(rows["Pid"]))
            held[int(rows["Pid"])] = int(rows.get("VmHWM", "0").split()[0]) * 1024  # a zombie holds none
    found = [number] if number in held else []
    for process in found:  # which grows meanwhile
        found += children[process]
    return {process: held[process] for process in found}
