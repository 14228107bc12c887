"""Processes as the system shows them, and a table of mounts of one's own. Linux only."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path


def alone_with_mounts() -> bool:
    """Take this process into a mount namespace of its own, so that nothing of it stays; whether that was allowed."""
    clone_newns = 0x00020000
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(clone_newns) != 0:
        return False
    private = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return private.returncode == 0


def parent(pid: int) -> int:
    """Of a process; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def started(pid: int) -> str:
    """When a process began, which tells it from a later one of the same number; empty when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def command_line(pid: int) -> str:
    """Of a process, its words with spaces between."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def variables(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    above = {int(entry): parent(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found, level = [], [pid]
    while level:
        level = [child for child, whose in above.items() if whose in level]
        found += level
    return found
