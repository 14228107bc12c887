"""Device and precision, for training and for translation."""

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
    """The device of `--device auto|cpu|cuda[:n]|mps`.

    `auto` prefers a CUDA GPU, then a Mac's GPU, then the CPU. Raises `UsageError` for a device that is missing.
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
    """Mixed precision: convolutions in `dtype`, weights and sensitive operations in fp32. No-op for fp32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def is_exact(precision: str) -> bool:
    """True where `--precision` asks for torch's own fp32 operators, without TF32 or our CPU kernels."""
    return precision == "fp32"


def prepare(device: torch.device, *, exact: bool) -> None:
    """Set process-wide switches for speed on `device`; called only by the owner of the process."""
    if device.type == "cuda":
        # TF32 multiplies with a 10-bit mantissa and adds with 23 bits: eight times as fast
        precision = "ieee" if exact else "tf32"
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = True  # all steps have the same sizes, so trying the algorithms once pays
    if device.type == "cpu":
        _keep_memory()


def _keep_memory() -> None:
    """Make glibc keep freed memory; other C libraries are left as they are.

    The system would zero it page by page for the next step: a tenth to a third of the time of a step on a virtual
    machine. One heap serves all threads, since only the first can grow in large pieces.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8  # malloc.h
        mallopt(arena_max, 1)
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)


def processors() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in GiB: of the GPU if `device` is one, else of the process.

    Linux's `ru_maxrss` is not used, since a new process inherits it from its parent.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with contextlib.suppress(OSError, StopIteration):  # only Linux has this file
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on a Mac, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
