"""Pictures of random numbers, and PNG files by hand."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import torch
from numpy.typing import DTypeLike


def random_pixels(
    height: int, width: int, channels: int = 3, dtype: DTypeLike = np.uint8, *, seed: int = 0
) -> np.ndarray:
    """HWC, all over what an integer `dtype` holds, or in [0, 1)."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random((height, width, channels)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (height, width, channels), dtype=dtype, endpoint=True)


def random_batch(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """N×3×side×side bytes."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=draws, dtype=torch.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with `chunks` before its pixels; `rows` has a filter byte in front of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)
