"""Build of the kernels, once per CPU type, by the installed C compiler; cached.

They are built on the user's machine because speed depends on the CPU's vector instructions: a portable binary could
use none of the wide ones. Without a compiler torch computes everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyclegan.system.files import atomic_write, cache_folder, sha256

log = logging.getLogger("cyclegan")

SOURCES = tuple(Path(__file__).with_name(name) for name in ("winograd.c", "norm.c", "shifts.c", "enlarging.c"))
HEADER = Path(__file__).with_name("vectors.h")
# No -ffast-math: it would set the whole process to flush small numbers to zero, and NaN must stay NaN.
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-lm")
_POINTER, _PLACE, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_float
SIGNATURES: dict[str, list[Any]] = {
    "tiles_of_input": [_POINTER] * 4 + [_PLACE] * 5 + [_INT],
    "tiles_of_input_adjoint": [_POINTER] * 2 + [_PLACE] * 5 + [_INT],
    "output_of_tiles": [_POINTER] * 2 + [_PLACE] * 5 + [_INT],
    "output_of_tiles_adjoint": [_POINTER] * 2 + [_PLACE] * 5 + [_INT],
    "weights": [_POINTER] * 2 + [_PLACE] * 2 + [_INT],
    "weights_adjoint": [_POINTER] * 2 + [_PLACE] * 2 + [_INT],
    "statistics": [_POINTER] * 3 + [_FLOAT] + [_PLACE] * 3 + [_INT],
    "add_normalised": [_POINTER] * 5 + [_PLACE] * 3 + [_INT],
    "rectified_norm_adjoint": [_POINTER] * 5 + [_PLACE] * 3 + [_INT],
    "added_norm_adjoint": [_POINTER] * 5 + [_PLACE] * 3 + [_INT],
    "planes_of_picture": [_POINTER] * 2 + [_PLACE] * 6 + [_INT],
    "planes_of_picture_adjoint": [_POINTER] * 2 + [_PLACE] * 6 + [_INT],
    "picture_of_planes": [_POINTER] * 2 + [_PLACE] * 8 + [_INT],
    "doubled_of_planes": [_POINTER] * 3 + [_PLACE] * 6 + [_INT],
    "repeated_of_planes": [_POINTER] * 3 + [_PLACE] * 7 + [_INT],
    "repeated_of_planes_adjoint": [_POINTER] * 2 + [_PLACE] * 5 + [_INT],
    "picture_of_planes_adjoint": [_POINTER] * 2 + [_PLACE] * 6 + [_INT],
}


@functools.cache
def load_kernels() -> ctypes.CDLL | None:
    """The library, or None where it is unavailable, with one log line."""
    try:
        library = _library()
    except _Unavailable as reason:
        log.info("convolutions are computed by torch alone, which is slower: %s", reason)
        return None
    for name, types in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = types
        function.restype = None
    return library


def usable(x: Tensor) -> bool:
    """True if the kernels can take `x`: fp32 on a CPU, outside autocast."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a kernel: tensors, contiguous in its layout, become pointers; the thread count is added."""
    library = load_kernels()
    assert library is not None
    plain = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
    getattr(library, name)(*plain, torch.get_num_threads())


class _Unavailable(Exception):
    """The reason why there are no kernels."""


def _library() -> ctypes.CDLL:
    """The library for these sources, compiler and CPU; built if missing or damaged."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise _Unavailable("there is no C compiler (cc, gcc or clang)")
    source = b"".join(file.read_bytes() for file in (*SOURCES, HEADER))
    about = repr((compiler, FLAGS, platform.machine(), torch.__version__, _processor())).encode()
    kept = cache_folder() / f"kernels-{sha256(source + about)[:24]}.so"
    if kept.exists():
        with contextlib.suppress(OSError):  # a damaged file is built anew
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / kept.name
        _compile(compiler, made)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(kept, made.read_bytes())
        except OSError as error:  # not cached: built again next time, in a second or two
            log.debug("%s cannot be kept: %s", kept, error)
        try:
            return ctypes.CDLL(str(made))  # stays mapped after the file is deleted
        except OSError as error:
            raise _Unavailable(f"what {compiler} made does not load ({error})") from None


def _compile(compiler: str, target: Path) -> None:
    command = [*compiler.split(), *map(str, SOURCES), *FLAGS, "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Unavailable(f"{compiler} does not run ({error})") from None
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), f"exit {done.returncode}")
        raise _Unavailable(f"{compiler} cannot build the kernels ({reason.strip()})")


def _processor() -> str:
    """CPU features that -march=native uses: different machines may share a home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
