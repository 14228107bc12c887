"""Safe loading of untrusted torch.save files: no code is run, and memory is bounded by file size.

`weights_only=True` keeps Python code from running. It does not keep a small file from expanding: parts may be
compressed a thousandfold, a tensor may repeat one number to any shape, and a few nested lists may stand for billions of
values. So the archive is checked before torch reads it, and the values before anything iterates over them.
"""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from cyclegan.errors import first_line

# Globals that pickled weights and plain values need. torch allows more, some of which can allocate memory.
_NEEDED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch \w+Storage"
    r"|torch\.nn\.parameter Parameter|torch Size|torch (float|bfloat|int|uint)\d+|torch bool"
)
_LARGEST_PICKLE = 2**23  # bytes of the pickle that names the tensors; a state of ours has 150,000
_VALUES = 10**6  # in all, each counted as often as it is referenced
_DEEPEST = 20
_BITS = 2**12  # of an integer
_REPEATED = 4  # bound on bytes of all tensors relative to the file: tensors may share storage
_PLAIN = (str, bool, float, type(None))


def read_torch(file: Path | BinaryIO, *, mmap: bool = False, archive: bool = True) -> Any:
    """Load tensors (on the CPU) and plain values; with `mmap` tensors stay on disk until used.

    Raises `pickle.UnpicklingError` for any other content, and `ValueError` with a readable reason if the file is
    damaged or would expand. Unless `archive`, files from before torch 1.6, which are not zip archives, are read too.
    """
    try:
        with open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            is_zip = stream.read(2) == b"PK"
            if is_zip:
                _check_archive(stream, size)
            elif archive:
                raise ValueError("it is not an archive of torch")
            stream.seek(0)
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols, irrelevant to users
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
        if _measured(content, 0, {})[0] > _REPEATED * size:
            raise ValueError("its tensors are larger than the file")
    except (pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # on damaged bytes both readers raise arbitrary errors
        raise ValueError(first_line(error)) from error
    return content


def _check_archive(file: BinaryIO, size: int) -> None:
    """Raise if a zip archive would expand when read, or its pickle needs more globals than weights do."""
    with zipfile.ZipFile(file) as opened:
        parts = opened.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("its parts are compressed, as torch never writes them")
        if sum(part.file_size for part in parts) > size:
            raise ValueError("its parts are larger than the file")
        for part in parts:
            if part.filename.endswith(".pkl"):
                if part.file_size > _LARGEST_PICKLE:
                    raise ValueError(f"it has a pickle of {part.file_size:,} bytes")
                _check_pickle(opened.read(part))


def _check_pickle(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not _NEEDED.fullmatch(str(argument)):
            raise pickle.UnpicklingError(f"it needs {argument}")


def _measured(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Measure bytes of tensors and number of values, each as often as it is referenced.

    Raises `ValueError` for anything but tensors and plain values, or for too many of them.
    """
    if isinstance(value, Tensor):
        strided = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not strided or type(value) not in (Tensor, torch.nn.Parameter):
            raise ValueError("it holds tensors of a kind that weights never have")
        return value.numel() * value.element_size(), 1
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise ValueError("it holds a number of too many digits")
        return 0, 1
    if isinstance(value, (*_PLAIN, torch.dtype)):
        return 0, 1
    if id(value) in known:
        return known[id(value)]
    if not isinstance(value, dict | list | tuple | set):
        raise ValueError(f"it holds a {type(value).__name__}")
    if depth >= _DEEPEST:
        raise ValueError("it is nested too deep")
    inside = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    found = [_measured(item, depth + 1, known) for item in inside]
    total = sum(size for size, _ in found), 1 + sum(count for _, count in found)
    if total[1] > _VALUES:
        raise ValueError("it expands to more values than it holds")
    known[id(value)] = total
    return total
