"""The most memory that a process holds while it does something."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from cyclegan.system.devices import peak_memory


class Memory:
    """The peak, in GiB: of a GPU's memory all that torch allocated, else what the process holds beyond what it held
    when this was made, which should be after the imports.

    On Linux the peak is that of the present address space; `ru_maxrss` would count what the parent process once held.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0.0 if device.type == "cuda" else _held("VmRSS")

    def forget(self) -> None:
        """Let the peak begin anew, where the system allows it; elsewhere it reaches back to the start."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> float:
        """The most since `forget`."""
        return peak_memory(self.device) if self.device.type == "cuda" else _held("VmHWM") - self.before


def _held(line: str) -> float:
    """GiB by a line of Linux's account of this process; on other systems the most so far."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_memory(torch.device("cpu"))
    words = next(row for row in status.read_text().splitlines() if row.startswith(f"{line}:"))
    return int(words.split()[1]) / 2**20
