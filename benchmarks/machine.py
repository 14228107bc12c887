"""What the figures were taken on, and the most it can do: the ceilings that every result is a share of."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import cyclegan
from benchmarks.timing import clock
from cyclegan.networks import pick_precision
from cyclegan.system.devices import DTYPES

PACKAGES = ("torch", "torchvision", "albumentations", "numpy", "pillow")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "bf16", "asimd")  # that decide how fast torch is
SIDE = 2048  # of the matrices
COPIED = 2**28  # bytes, to measure how fast memory is
ROUNDS = 5
# What the share of the floor means, for the notes of a record
FLOOR = (
    "the floor is that many at the best rate measured here in the same precision, "
    "which Winograd's convolutions, of fewer operations, may pass"
)

Ceilings = dict[str, Any]  # {"fp32": {"convolution": …, "matrix_product": …}, "bf16": …}, "copy_gb_per_s": …


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, memory, GPU, versions: what one must know to compare figures."""
    about: dict[str, Any] = {
        "device": _device_name(device),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory(),
        "flags": _flags(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "cyclegan": _version(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about["gpu"] = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "count": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return about


def command() -> str:
    """The command line, without the paths of this machine."""
    words = [Path(sys.argv[0]).name]
    for argument in sys.argv[1:]:
        option, sign, value = argument.rpartition("=")
        words.append(f"{option}{sign}{Path(value).name if os.path.isabs(value) else value}")
    return " ".join(words)


def ceilings(device: torch.device, *, channels: int, size: int, batch_size: int) -> Ceilings:
    """GFLOP/s of a 3×3 convolution of the generator's inner shape (4 × `channels` at a quarter of `size`) and of a
    matrix product of 2048², in fp32 and, where the hardware multiplies in it, bf16; on a GPU how fast it copies, GB/s.

    The best of several measurements each, of the convolution in the better of two memory formats, with torch as it
    comes: on a GPU convolutions in fp32 may then be TF32, of a tenth of the digits.
    """
    measured: Ceilings = {}
    has_bf16 = pick_precision("auto", device) == torch.bfloat16
    for precision in ("fp32", "bf16") if has_bf16 else ("fp32",):
        dtype = DTYPES[precision]
        measured[precision] = {
            "convolution": round(_convolution(device, dtype, channels * 4, max(size // 4, 1), batch_size), 1),
            "matrix_product": round(_product(device, dtype), 1),
        }
    if device.type == "cuda":
        source = torch.ones(COPIED, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        measured["copy_gb_per_s"] = round(2 * COPIED / _best(partial(target.copy_, source), device) / 1e9, 1)
    return measured


def share_of_floor(flops: float, seconds: float, precision: str, measured: Ceilings) -> float | None:
    """What part of `seconds` the work would take at the best rate measured in `precision`; None where none was."""
    if precision not in measured:
        return None
    return flops / (max(measured[precision].values()) * 1e9) / seconds


@torch.inference_mode()
def _convolution(device: torch.device, dtype: torch.dtype, channels: int, size: int, batch_size: int) -> float:
    rates = []
    for layout in (torch.contiguous_format, torch.channels_last):
        pictures = torch.randn(batch_size, channels, size, size, device=device, dtype=dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        work = partial(_convolve, pictures.to(memory_format=layout), weight.to(memory_format=layout))
        rates.append(2 * 9 * channels**2 * size**2 * batch_size / _best(work, device) / 1e9)
    return max(rates)


def _convolve(pictures: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(pictures, weight, padding=1)


@torch.inference_mode()
def _product(device: torch.device, dtype: torch.dtype) -> float:
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    return 2 * SIDE**3 / _best(partial(torch.mm, left, right), device) / 1e9


def _best(work: Callable[[], Tensor], device: torch.device) -> float:
    """The fewest seconds that `work` takes, in groups of some 20 ms so that neither clock nor launch is what counts."""
    clock(work, device)
    group = max(1, min(1000, round(0.02 / max(clock(work, device), 1e-6))))

    def several() -> None:
        for _ in range(group):
            work()

    return min(clock(several, device) for _ in range(ROUNDS)) / group


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} cores of {_processor()}"


def _processor() -> str:
    named = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _flags() -> list[str]:
    line = next((line for line in _cpuinfo() if line.startswith(("flags", "Features"))), "")
    present = set(line.partition(":")[2].split())
    return [flag for flag in FLAGS if flag in present]


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


def _memory() -> float:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _version() -> str:
    """The version of the package, and the commit where it lies in a git repository."""
    folder = Path(cyclegan.__file__).parents[1]
    try:
        asked = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git
        return cyclegan.__version__
    return f"{cyclegan.__version__} ({asked.stdout.strip()})" if asked.returncode == 0 else cyclegan.__version__
