"""Caches of prepared pictures: none, in shared memory, or on disk.

A picture is identified by its place in a run, counted domain after domain. A cache never fails: a picture that it lacks
or cannot store is decoded again, and the pixels are the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import mmap
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL

from cyclegan.config import TrainConfig
from cyclegan.data.kinds import PLAIN, InputKind, InputKinds, spread
from cyclegan.data.loading.buffers import SharedFile
from cyclegan.data.loading.regions import is_large
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.data.transforms import Transform, prepared_size
from cyclegan.errors import reason_of
from cyclegan.images import UnreadableImage, read_header
from cyclegan.system.files import atomic_write, cache_folder
from cyclegan.system.memory import available_memory

SAMPLED = 32  # headers read per domain to estimate the size of all pictures
VERSION = 2  # format of the files of the disk cache

_TYPES: dict[bytes, np.dtype] = {b"|u1 ": np.dtype(np.uint8), b"<f4 ": np.dtype("<f4")}  # by their codes in a cache

log = logging.getLogger("cyclegan")


class Prepared(NamedTuple):
    """A prepared picture, whole or cropped, and its decoded size."""

    pixels: np.ndarray  # HWC, uint8 or float32; read-only where it comes from a cache
    height: int  # as decoded; a JPEG far larger than needed is decoded at a reduced size
    width: int


class Cache:
    """The interface of caches, and the null object that keeps nothing."""

    def get(self, place: int) -> Prepared | None:
        """The picture at `place`; None where it must be decoded."""
        return None

    def put(self, place: int, picture: Prepared) -> None:
        """Store `picture` if there is room."""


class MemoryCache(Cache):
    """One buffer of decoded pictures for all workers.

    `capacity` is an upper limit in bytes; memory is allocated as the cache fills. The buffer is written by system
    calls, which raise `OSError` when memory runs out. Its mapping is read-only, is read without a copy, and only where
    data was written: no access can raise SIGBUS, and pictures cannot be overwritten.

    Layout: the number of bytes in use (8 bytes); a flag byte per place, 1 if it is filled; an entry per place with the
    offset of the pixels, their shape, decoded size and type; then pixels. The flag is written last, after the data that
    it announces. The lock is the operating system's, so it is released however a worker ends.
    """

    _used = struct.Struct("=Q")
    _entry = struct.Struct("=QIIIII4s")  # offset, shape, decoded height and width, type

    def __init__(self, places: int, capacity: int) -> None:
        start = self._used.size + places * (1 + self._entry.size)
        self._places = places
        self._file = SharedFile(start + capacity)
        self._file.write(self._used.pack(start), 0)
        self._open()

    def _open(self) -> None:
        self._map = self._file.map(mmap.PROT_READ)
        self._writable = True

    def __getstate__(self) -> dict[str, Any]:
        return {"_places": self._places, "_file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def get(self, place: int) -> Prepared | None:
        assert 0 <= place < self._places, (place, self._places)
        if not self._map[self._flag(place)]:
            return None
        offset, *shape, height, width, code = self._entry.unpack_from(self._map, self._entry_at(place))
        pixels = np.frombuffer(self._map, _TYPES[code], math.prod(shape), offset)
        return Prepared(pixels.reshape(shape), height, width)

    def put(self, place: int, picture: Prepared) -> None:
        if not self._writable:
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
        except OSError:  # memory, or the disk behind the file, is full: stored pictures stay, others are decoded
            self._writable = False
        finally:
            fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN)

    def _flag(self, place: int) -> int:
        return self._used.size + place

    def _entry_at(self, place: int) -> int:
        return self._used.size + self._places + place * self._entry.size


class DiskCache(Cache):
    """One file per picture, shared by all runs and processes that use `folder`.

    `keys` holds for each place a hash of everything that the pixels depend on, or None for a missing file. A file
    appears atomically, by renaming, but without fsync, which would take longer than decoding: its checksum, verified
    once in each process, reveals damage by a power failure or a bad disk. A damaged file counts as missing and is
    rewritten. After a failed write, a process writes no more.
    """

    _header = struct.Struct("<8sIIIIII4sI")  # magic, version, shape, decoded size, type, CRC-32
    _magic = b"cyclepix"

    def __init__(self, folder: Path, keys: Sequence[str | None]) -> None:
        self.folder = folder
        self.keys = keys
        self._checked: set[int] = set()  # places
        self._writable = True

    def get(self, place: int) -> Prepared | None:
        key = self.keys[place]
        if key is None:
            return None
        try:
            with open(self._path(key), "rb", buffering=0) as stream:
                data = stream.readall()  # not mapped: a file that another process truncates would raise SIGBUS
        except OSError:
            return None
        if len(data) < self._header.size:
            return None
        magic, version, *shape, height, width, code, checksum = self._header.unpack_from(data)
        if (magic, version) != (self._magic, VERSION) or code not in _TYPES:
            return None
        pixels = np.frombuffer(data, np.uint8, offset=self._header.size)
        if pixels.size != math.prod(shape) * _TYPES[code].itemsize:
            return None
        if place not in self._checked and zlib.crc32(pixels.data) != checksum:
            return None
        self._checked.add(place)
        return Prepared(pixels.view(_TYPES[code]).reshape(shape), height, width)

    def put(self, place: int, picture: Prepared) -> None:
        key = self.keys[place]
        if key is None or not self._writable:
            return
        pixels = np.ascontiguousarray(picture.pixels)
        sizes = (*pixels.shape, picture.height, picture.width)
        header = self._header.pack(self._magic, VERSION, *sizes, _code(pixels), zlib.crc32(pixels.data))
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, header, pixels.data.cast("B"), durable=False)
        except OSError:
            self._writable = False

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _code(pixels: np.ndarray) -> bytes:
    return next(code for code, dtype in _TYPES.items() if dtype == pixels.dtype)


class _CacheRequest(NamedTuple):
    """The pictures to cache and the available memory."""

    paths: list[Path]  # by place: domain after domain
    preparations: list[str]  # by place: the parameters that the pixels depend on
    need: int  # estimated bytes of all pictures
    memory: int  # bytes available to this process


def open_cache(
    config: TrainConfig, sets: PictureSets, kinds: InputKinds, transform: Transform, *, ranks: int = 1
) -> Cache:
    """The cache named by --cache, or the best that fits, for the training pictures of `sets`.

    The estimate reads up to 32 headers per domain, some 5 ms. The key of a picture on disk (path, size, modification
    time, preparation, versions) is computed here, once: a change of a picture during the run goes unnoticed. `ranks`
    processes share the memory of the machine. A disk that cannot be written to gives one warning.
    """
    preparations = {domain: repr((transform.depends_on, *kinds[domain].depends_on)) for domain in sets.train}
    request = _CacheRequest(
        paths=[pictures.root / name for pictures in sets.train.values() for name in pictures.names],
        preparations=[preparations[domain] for domain, pictures in sets.train.items() for _ in pictures.names],
        need=sum(
            estimate(pictures, transform.load_size, kinds[domain], in_parts=transform.windows)
            for domain, pictures in sets.train.items()
        ),
        memory=available_memory() // ranks,
    )
    if config.cache in KINDS:
        return KINDS[config.cache](request)
    return KINDS[choose_cache(request.need, request.memory, _free(pictures_folder()))](request)


def choose_cache(need: int, memory: int, disk: int) -> str:
    """Resolve auto: "ram" up to a third of the available memory, "disk" up to a quarter of the free space."""
    if 3 * need <= memory:
        return "ram"
    return "disk" if 4 * need <= disk else "off"


def estimate(pictures: FileList, load_size: int | None, kind: InputKind = PLAIN, *, in_parts: bool = False) -> int:
    """Estimate the bytes of prepared `pictures` from a sample of headers; large ones read `in_parts` take none."""
    sizes = []
    for index in spread(len(pictures), SAMPLED):
        try:
            header = read_header(pictures.path(index))
        except UnreadableImage:
            continue  # reported when training reads it
        if in_parts and is_large(header):
            sizes.append(0.0)
            continue
        height, width = prepared_size(header.height, header.width, load_size)
        sizes.append(kind.channels * kind.dtype.itemsize * height * width)
    return round(len(pictures) * sum(sizes) / len(sizes)) if sizes else 0


def pictures_folder() -> Path:
    """The folder of decoded pictures."""
    return cache_folder() / f"pictures-v{VERSION}"


def _in_memory(request: _CacheRequest) -> Cache:
    capacity = request.memory // 2
    try:
        # Twice the estimate, which may be low; more would only be refused where address space is limited
        cache = MemoryCache(len(request.paths), min(capacity, 2 * request.need + 2**26))
    except OSError as error:  # a limit on the size of files, or on mappings
        log.warning("no memory for decoded pictures (%s); they are decoded anew each time", _reason(error))
        return Cache()
    if request.need > capacity:
        log.warning(
            "--cache ram: %d pictures take %s decoded, and half of the memory available is %s; "
            "what does not fit is decoded anew each time (--cache disk keeps all)",
            len(request.paths),
            _size(request.need),
            _size(capacity),
        )
    else:
        log.info("keeping %d pictures decoded in memory, %s", len(request.paths), _size(request.need))
    return cache


def _on_disk(request: _CacheRequest) -> Cache:
    folder = pictures_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # as large as a picture, to detect a full disk
            probe.write(bytes(request.need // len(request.paths) + 1))
    except OSError as error:
        log.warning(
            "the cache of decoded pictures in %s cannot be written to (%s), so they are decoded anew each time; "
            "name another place by CYCLEGAN_CACHE, or give --cache ram or off",
            folder,
            _reason(error),
        )
        return Cache()
    log.info("keeping %d pictures decoded in %s, %s", len(request.paths), folder, _size(request.need))
    keys = [_key(*picture) for picture in zip(request.paths, request.preparations, strict=True)]
    return DiskCache(folder, keys)


def _nowhere(request: _CacheRequest) -> Cache:
    log.info("%d pictures, %s decoded, are decoded anew each time", len(request.paths), _size(request.need))
    return Cache()


KINDS: dict[str, Callable[[_CacheRequest], Cache]] = {"ram": _in_memory, "disk": _on_disk, "off": _nowhere}


def _key(path: Path, preparation: str) -> str | None:
    """Hash of everything that the prepared pixels depend on, including decoder and scaling."""
    try:
        status = path.stat()
    except OSError:  # a broken link, reported when training reads it
        return None
    parts = (status.st_size, status.st_mtime_ns, preparation, VERSION, PIL.__version__, cv2.__version__)
    return hashlib.sha256(os.fsencode(path.absolute()) + repr(parts).encode()).hexdigest()[:40]


def _free(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist yet; 0 if unknown."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return 0


def _size(count: float) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**8 else f"{count / 10**6:.0f} MB"


def _reason(error: OSError) -> str:
    return reason_of(error).lower()
