"""Where prepared pictures are kept from one epoch to the next: nowhere, in shared memory, or on disk.

Pictures are asked for by their place in a run: domain after domain. A store never fails: what it cannot give, or
cannot take, is decoded again, and the pixels are the same.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cyclegan.data.loading.buffers import SharedFile
from cyclegan.system.files import atomic_write

VERSION = 2  # of the files of the disk cache

# By the four bytes that say so in a store
_TYPES: dict[bytes, np.dtype] = {
    b"|u1 ": np.dtype(np.uint8),
    b"<f4 ": np.dtype("<f4"),
}


class Prepared(NamedTuple):
    """A picture after everything that is the same each time, and the size it had before."""

    pixels: np.ndarray  # HWC, uint8 or float32; read-only where it comes from a cache
    height: int  # as decoded, which of a JPEG far larger than is needed is less than the file has
    width: int


class Cache:
    """Keeps nothing: the null object, and what every cache can be asked."""

    def get(self, place: int) -> Prepared | None:
        """The picture at `place`, or None where it must be decoded."""
        return None

    def put(self, place: int, picture: Prepared) -> None:
        """Keep `picture` if there is room."""


class MemoryCache(Cache):
    """One buffer for all workers: whoever decodes a picture first does so for everyone.

    `capacity` bytes are a limit; memory is taken as it is filled. The buffer is written by system calls, which fail
    in words where memory runs out, and only read through its mapping, never where nothing was written: no access can
    raise SIGBUS, and nobody can scribble on a picture.

    Layout: how much is in use (8 bytes), a byte for each place that says whether it is filled, for each place where
    its pixels begin, their shape and type and the size before, then pixels. The byte is written last, after all that
    it vouches for. The lock is the operating system's, so that it ends with a worker, however that ends.
    """

    _used = struct.Struct("=Q")
    _entry = struct.Struct("=QIIIII4s")  # offset, shape, height and width before, type

    def __init__(self, places: int, capacity: int) -> None:
        start = self._used.size + places * (1 + self._entry.size)
        self._places = places
        self._file = SharedFile(start + capacity)
        self._file.write(self._used.pack(start), 0)
        self._open()

    def _open(self) -> None:
        self._map = self._file.map(mmap.PROT_READ)
        self._taking = True

    def __getstate__(self) -> dict[str, Any]:
        return {"_places": self._places, "_file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def get(self, place: int) -> Prepared | None:
        """The picture at `place` without a copy, or None where it must be decoded."""
        assert 0 <= place < self._places, (place, self._places)
        if not self._map[self._flag(place)]:
            return None
        offset, *shape, before_h, before_w, kind = self._entry.unpack_from(self._map, self._entry_at(place))
        pixels = np.frombuffer(self._map, _TYPES[kind], math.prod(shape), offset)
        return Prepared(pixels.reshape(shape), before_h, before_w)

    def put(self, place: int, picture: Prepared) -> None:
        """Keep `picture` unless another process was quicker or it does not fit."""
        if not self._taking:
            return
        data = np.ascontiguousarray(picture.pixels)
        fcntl.lockf(self._file.descriptor, fcntl.LOCK_EX)
        try:
            (used,) = self._used.unpack(self._file.read(self._used.size, 0))
            used += -used % data.itemsize
            if self._map[self._flag(place)] or used + data.nbytes > self._file.length:
                return
            self._file.write(data.data.cast("B"), used)
            entry = self._entry.pack(used, *data.shape, picture.height, picture.width, _code(data))
            self._file.write(entry, self._entry_at(place))
            self._file.write(self._used.pack(used + data.nbytes), 0)
            self._file.write(b"\1", self._flag(place))
        except OSError:  # memory, or the disk behind the file, is full: what is kept stays, the rest is decoded
            self._taking = False
        finally:
            fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN)

    def _flag(self, place: int) -> int:
        return self._used.size + place

    def _entry_at(self, place: int) -> int:
        return self._used.size + self._places + place * self._entry.size


class DiskCache(Cache):
    """A file for each picture below `folder`, for all runs and processes that share it.

    `keys` has for each place a name that says everything the pixels depend on, or None for a file that is not
    there. A file appears whole, by renaming, but is not forced to the disk, which would take longer than decoding:
    its checksum, looked at once in each process, shows what a power failure or a bad disk did to it. What is wrong
    in any way counts as not there and is written anew. After a write that failed, a process writes no more.
    """

    _header = struct.Struct("<8sIIIIII4sI")  # magic, version, shape, size before, type, CRC-32
    _magic = b"cyclepix"

    def __init__(self, folder: Path, keys: Sequence[str | None]) -> None:
        self.folder = folder
        self.keys = keys
        self._checked: set[int] = set()  # places
        self._taking = True

    def get(self, place: int) -> Prepared | None:
        """The picture at `place`, or None where it must be decoded."""
        key = self.keys[place]
        if key is None:
            return None
        try:
            with open(self._path(key), "rb", buffering=0) as stream:
                data = stream.readall()  # not mapped: a file that another process cuts short would raise SIGBUS
        except OSError:
            return None
        return self._parse(place, data)

    def put(self, place: int, picture: Prepared) -> None:
        """Write the file of `picture`, in place of whatever is there."""
        key = self.keys[place]
        if key is None or not self._taking:
            return
        pixels = np.ascontiguousarray(picture.pixels)
        sizes = (*pixels.shape, picture.height, picture.width)
        header = self._header.pack(self._magic, VERSION, *sizes, _code(pixels), zlib.crc32(pixels.data))
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, header, pixels.data.cast("B"), durable=False)
        except OSError:
            self._taking = False

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _parse(self, place: int, data: bytes) -> Prepared | None:
        if len(data) < self._header.size:
            return None
        magic, version, *shape, before_h, before_w, kind, checksum = self._header.unpack_from(data)
        if (magic, version) != (self._magic, VERSION):
            return None
        dtype = _TYPES.get(kind)
        if dtype is None or len(data) != self._header.size + math.prod(shape) * dtype.itemsize:
            return None
        pixels = np.frombuffer(data, dtype, offset=self._header.size)
        if place not in self._checked:
            if zlib.crc32(pixels.data) != checksum:
                return None
            self._checked.add(place)
        return Prepared(pixels.reshape(shape), before_h, before_w)


def _code(pixels: np.ndarray) -> bytes:
    """The type of an array in four bytes."""
    return next(code for code, dtype in _TYPES.items() if dtype == pixels.dtype)
