"""Memory shared by the training process and its workers, forked or spawned.

It is an anonymous file, in memory where the system supports that. /dev/shm, through which torch passes tensors from
workers, is not used: it is 64 MB in many containers, and a process that writes to it when it is full dies of SIGBUS.
"""

from __future__ import annotations

import heapq
import math
import mmap
import os
import tempfile
import weakref
from itertools import accumulate
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class SharedFile:
    """Shared file of `length` zero bytes, which take no memory until written; deleted with its last process.

    `write` raises `OSError` when memory, or the disk behind the file, runs out; bytes of a mapping that were never
    written must only be read. Raises `OSError` if the system grants no such file.
    """

    def __init__(self, length: int) -> None:
        if hasattr(os, "memfd_create"):  # Linux
            self._own(os.memfd_create("cyclegan"), length)
        else:
            descriptor, name = tempfile.mkstemp()
            os.unlink(name)
            self._own(descriptor, length)
        os.ftruncate(self.descriptor, length)

    def _own(self, descriptor: int, length: int) -> None:
        self.descriptor = descriptor
        self.length = length
        weakref.finalize(self, os.close, descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return {"descriptor": DupFd(self.descriptor), "length": self.length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._own(state["descriptor"].detach(), state["length"])

    def map(self, protection: int) -> mmap.mmap:
        """Map the whole file."""
        return mmap.mmap(self.descriptor, self.length, prot=protection)

    def read(self, count: int, offset: int) -> bytes:
        """Read `count` bytes, including the latest writes of other processes."""
        return os.pread(self.descriptor, count, offset)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write `data` within the length of the file."""
        assert offset + len(data) <= self.length, (offset, len(data), self.length)
        written = os.pwrite(self.descriptor, data, offset)
        if written < len(data):
            raise OSError(f"{written} of {len(data)} bytes written")


class SharedBuffers:
    """Arrays (slots) of equal shape and type, filled by workers and used without a copy.

    The training process takes a slot, has a worker fill it, and lends it to the user of the pictures; when the last
    tensor that views it is deleted, the slot can be taken again. One set of slots serves one iteration.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8) -> None:
        self._shape = (count, *shape)
        self._dtype = np.dtype(dtype)
        self._file = SharedFile(math.prod(self._shape) * self._dtype.itemsize)
        self._free: list[int] = []  # a heap of returned slots: the lowest first, whose memory is warm
        self._fresh = iter(range(count))
        self._array: np.ndarray | None = None  # mapped on first use, in each process

    def __getstate__(self) -> dict[str, Any]:
        return {"_shape": self._shape, "_dtype": self._dtype, "_file": self._file, "_array": None}

    def take(self) -> int | None:
        """An unused slot; None if there is none."""
        if self._free:
            return heapq.heappop(self._free)
        slot = next(self._fresh, None)
        if slot is not None:
            size = math.prod(self._shape[1:]) * self._dtype.itemsize
            try:
                self._file.write(bytes(size), slot * size)  # through a mapping a worker could not report an error
            except OSError:
                return None
        return slot

    def __getitem__(self, slot: int) -> np.ndarray:
        if self._array is None:
            memory = self._file.map(mmap.PROT_READ | mmap.PROT_WRITE)
            self._array = np.frombuffer(memory, self._dtype).reshape(self._shape)
        return self._array[slot]

    def lend(self, slot: int) -> Tensor:
        """A taken slot as a tensor; the slot is free again when it and all its views are deleted."""
        array = self[slot]
        weakref.finalize(array, heapq.heappush, self._free, slot).atexit = False
        return torch.from_numpy(array)


class BatchLayout(NamedTuple):
    """Memory layout of the pictures of one step: domain after domain, each channel a plane."""

    batch: int  # pictures of each domain
    channels: tuple[int, ...]  # of a picture of each domain
    size: int  # of the crop
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.batch * sum(self.channels), self.size, self.size

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def split(self, step: Any) -> list[Any]:
        """Views of an array or tensor of `shape`, one for each domain: batch × channels × size × size."""
        ends = [self.batch * planes for planes in accumulate(self.channels)]
        return [
            step[end - self.batch * channels : end].reshape(self.batch, channels, self.size, self.size)
            for end, channels in zip(ends, self.channels, strict=True)
        ]
