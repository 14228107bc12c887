"""Memory available to this process, within the limits of its control groups."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 2 * 2**30  # bytes assumed where the system reports none: any machine that trains can spare as much


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes available without swapping, within the limit of a container or batch job."""
    return max(min([_of_the_system(proc / "meminfo"), *_of_the_groups(proc / "self/cgroup", cgroups)]), 0)


def _of_the_system(meminfo: Path) -> int:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS has no such figure
        return UNKNOWN


def _of_the_groups(membership: Path, root: Path) -> Iterator[int]:
    """Bytes left in each control group of this process and in its ancestors; versions 1 and 2.

    Inside a container the path in `membership` may be the host's, of which only the root is visible.
    """
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(base))):
            limit, usage = (next(iter(_lines(folder / name)), "") for name in names[:2])
            if limit.isdigit() and usage.isdigit():  # "max" is no limit
                # The file cache counts as usage, but can be reclaimed
                stat = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat"))
                yield int(limit) - int(usage) + int(stat.get(names[2], 0))


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):  # another system, or another version of control groups
        return path.read_text().splitlines()
    return []
