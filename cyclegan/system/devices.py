"""Which device computes, and in which precision: one answer for training and for translation."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from cyclegan.errors import UsageError

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """The device of `--device auto|cpu|cuda[:n]|mps`; `auto` takes a CUDA GPU, then a Mac's, then the processor.

    Raises `UsageError` when the device asked for is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device: unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps") from None
    number = int(name.partition(":")[2] or 0)  # not device.index, which is one byte and wraps around
    if device.type == "cuda" and number >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this machine has no Metal device; use auto or cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Mixed precision: convolutions in `dtype`, weights and what needs its digits in fp32. fp32 changes nothing."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def is_exact(precision: str) -> bool:
    """Whether `--precision` asks for fp32 as torch's own operators compute it, with no shortcut that rounds more."""
    return precision == "fp32"


def prepare(device: torch.device, *, exact: bool) -> None:
    """Settings of the whole process that make computing on `device` fast; called by what owns the process."""
    if device.type == "cuda":
        # Products of fp32 with 10 binary digits behind the point (TF32), sums with 23: eight times as fast
        digits = "ieee" if exact else "tf32"
        torch.backends.cuda.matmul.fp32_precision = digits
        torch.backends.cudnn.conv.fp32_precision = digits  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = True  # the sizes are the same at every step: try its algorithms once
    if device.type == "cpu":
        _keep_memory()


def _keep_memory() -> None:
    """Let glibc keep what is freed instead of giving it back to the system, which zeroes it page by page for the next
    step: a tenth to a third of the time of a step on a virtual machine. One heap for all threads, since only the first
    can grow by large pieces. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8  # malloc.h
        mallopt(arena_max, 1)
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory(device: torch.device) -> float:
    """GiB held at most so far: of the GPU's memory where there is one, else by the process.

    Linux's own `ru_maxrss` is not what is meant: a new process inherits that of the one that started it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with contextlib.suppress(OSError, StopIteration):  # only Linux has this file
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on a Mac, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
