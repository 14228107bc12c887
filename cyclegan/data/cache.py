"""Caches of prepared pictures: none, in shared memory, or on disk.

Pictures are asked for by their place in a run: domain after domain. A cache never fails: what it cannot give, or cannot
take, is decoded again, and the pixels are the same.
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

SAMPLED = 32  # pictures of each domain whose headers are read to estimate the size of all
VERSION = 2  # of the files of the disk cache

_TYPES: dict[bytes, np.dtype] = {b"|u1 ": np.dtype(np.uint8), b"<f4 ": np.dtype("<f4")}  # by their codes in a cache

log = logging.getLogger("cyclegan")


class Prepared(NamedTuple):
    """A prepared picture, whole or a crop, and its size before."""

    pixels: np.ndarray  # HWC, uint8 or float32; read-only where it comes from a cache
    height: int  # as decoded, which of a JPEG far larger than is needed is less than the file has
    width: int


class Cache:
    """The interface of caches, and the null object that keeps nothing."""

    def get(self, place: int) -> Prepared | None:
        """The picture at `place`; None where it must be decoded."""
        return None

    def put(self, place: int, picture: Prepared) -> None:
        """Keep `picture` if there is room."""


class MemoryCache(Cache):
    """One buffer of decoded pictures for all workers.

    `capacity` bytes are a limit; memory is taken as it is filled. The buffer is written by system calls, which raise
    `OSError` where memory runs out, and only read, without a copy, through its mapping, never where nothing was
    written: no access can raise SIGBUS, and pictures cannot be overwritten.

    Layout: the number of bytes in use (8 bytes), a byte for each place that is 1 where it is filled, for each place the
    offset of its pixels, their shape and type and the size before, then pixels. The byte is written last, after all
    that it stands for. The lock is the operating system's, so that it ends with a worker, however that ends.
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
        assert 0 <= place < self._places, (place, self._places)
        if not self._map[self._flag(place)]:
            return None
        offset, *shape, before_h, before_w, kind = self._entry.unpack_from(self._map, self._entry_at(place))
        pixels = np.frombuffer(self._map, _TYPES[kind], math.prod(shape), offset)
        return Prepared(pixels.reshape(shape), before_h, before_w)

    def put(self, place: int, picture: Prepared) -> None:
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
    """A file for each picture, for all runs and processes that share `folder`.

    `keys` has for each place a hash of everything that the pixels depend on, or None for a missing file. A file appears
    whole, by renaming, but is not forced to the disk, which would take longer than decoding: its checksum, verified
    once in each process, shows what a power failure or a bad disk did to it. A damaged file counts as missing and is
    written anew. After a write that failed, a process writes no more.
    """

    _header = struct.Struct("<8sIIIIII4sI")  # magic, version, shape, size before, type, CRC-32
    _magic = b"cyclepix"

    def __init__(self, folder: Path, keys: Sequence[str | None]) -> None:
        self.folder = folder
        self.keys = keys
        self._checked: set[int] = set()  # places
        self._taking = True

    def get(self, place: int) -> Prepared | None:
        key = self.keys[place]
        if key is None:
            return None
        try:
            with open(self._path(key), "rb", buffering=0) as stream:
                data = stream.readall()  # not mapped: a file that another process cuts short would raise SIGBUS
        except OSError:
            return None
        if len(data) < self._header.size:
            return None
        magic, version, *shape, before_h, before_w, code, checksum = self._header.unpack_from(data)
        if (magic, version) != (self._magic, VERSION) or code not in _TYPES:
            return None
        pixels = np.frombuffer(data, np.uint8, offset=self._header.size)
        if pixels.size != math.prod(shape) * _TYPES[code].itemsize:
            return None
        if place not in self._checked and zlib.crc32(pixels.data) != checksum:
            return None
        self._checked.add(place)
        return Prepared(pixels.view(_TYPES[code]).reshape(shape), before_h, before_w)

    def put(self, place: int, picture: Prepared) -> None:
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


def _code(pixels: np.ndarray) -> bytes:
    return next(code for code, dtype in _TYPES.items() if dtype == pixels.dtype)


class _Situation(NamedTuple):
    """The pictures of a run and the memory for them."""

    paths: list[Path]  # by place: domain after domain
    facts: list[str]  # by place, the parameters of its preparation
    need: int  # estimated bytes of all pictures
    memory: int  # bytes available to this process


def open_cache(
    config: TrainConfig, sets: PictureSets, kinds: InputKinds, transform: Transform, *, ranks: int = 1
) -> Cache:
    """The cache that --cache names, or the best that fits, for the training pictures of `sets`.

    Estimating reads up to 32 headers of each domain, some 5 ms. The key of a picture on disk (path, size, time of
    change, preparation, versions) is taken here, once: a picture that changes during the run goes on as it was. `ranks`
    processes share the memory of the machine. A disk that cannot be written to is one warning.
    """
    facts = {domain: repr((transform.depends_on, *kinds[domain].depends_on)) for domain in sets.train}
    now = _Situation(
        paths=[pictures.root / name for pictures in sets.train.values() for name in pictures.names],
        facts=[facts[domain] for domain, pictures in sets.train.items() for _ in pictures.names],
        need=sum(
            estimate(pictures, transform.load_size, kinds[domain], in_parts=transform.windows)
            for domain, pictures in sets.train.items()
        ),
        memory=available_memory() // ranks,
    )
    if config.cache in KINDS:
        return KINDS[config.cache](now)
    return KINDS[choose_cache(now.need, now.memory, _free(pictures_folder()))](now)


def choose_cache(need: int, memory: int, disk: int) -> str:
    """The choice of auto: "ram" up to a third of the available memory, "disk" up to a quarter of the free space."""
    if 3 * need <= memory:
        return "ram"
    return "disk" if 4 * need <= disk else "off"


def estimate(pictures: FileList, load_size: int | None, kind: InputKind = PLAIN, *, in_parts: bool = False) -> int:
    """Bytes of `pictures` once prepared, from the headers of an even sample; large ones read `in_parts` take none."""
    sizes = []
    for index in spread(len(pictures), SAMPLED):
        try:
            header = read_header(pictures.path(index))
        except UnreadableImage:
            continue  # reported when training comes to it
        if in_parts and is_large(header):
            sizes.append(0.0)
            continue
        height, width = prepared_size(header.height, header.width, load_size)
        sizes.append(kind.channels * kind.dtype.itemsize * height * width)
    return round(len(pictures) * sum(sizes) / len(sizes)) if sizes else 0


def pictures_folder() -> Path:
    """The folder of decoded pictures."""
    return cache_folder() / f"pictures-v{VERSION}"


def _in_memory(now: _Situation) -> Cache:
    capacity = now.memory // 2
    try:
        # Twice the estimate, which may be low; more would only be refused where address space is limited
        cache = MemoryCache(len(now.paths), min(capacity, 2 * now.need + 2**26))
    except OSError as error:  # a limit on the size of files, or on mappings
        log.warning("no memory for decoded pictures (%s); they are decoded anew each time", _words(error))
        return Cache()
    if now.need > capacity:
        log.warning(
            "--cache ram: %d pictures take %s decoded, and half of the memory available is %s; "
            "what does not fit is decoded anew each time (--cache disk keeps all)",
            len(now.paths),
            _size(now.need),
            _size(capacity),
        )
    else:
        log.info("keeping %d pictures decoded in memory, %s", len(now.paths), _size(now.need))
    return cache


def _on_disk(now: _Situation) -> Cache:
    folder = pictures_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # as much as a picture takes: a full disk shows here
            probe.write(bytes(now.need // len(now.paths) + 1))
    except OSError as error:
        log.warning(
            "the cache of decoded pictures in %s cannot be written to (%s), so they are decoded anew each time; "
            "name another place by CYCLEGAN_CACHE, or give --cache ram or off",
            folder,
            _words(error),
        )
        return Cache()
    log.info("keeping %d pictures decoded in %s, %s", len(now.paths), folder, _size(now.need))
    keys = [_key(path, facts) for path, facts in zip(now.paths, now.facts, strict=True)]
    return DiskCache(folder, keys)


def _nowhere(now: _Situation) -> Cache:
    log.info("%d pictures, %s decoded, are decoded anew each time", len(now.paths), _size(now.need))
    return Cache()


KINDS: dict[str, Callable[[_Situation], Cache]] = {"ram": _in_memory, "disk": _on_disk, "off": _nowhere}


def _key(path: Path, facts: str) -> str | None:
    """A hash of all that the prepared pixels depend on, decoder and scaling included."""
    try:
        status = path.stat()
    except OSError:  # a broken link, reported when training comes to it
        return None
    known = (status.st_size, status.st_mtime_ns, facts, VERSION, PIL.__version__, cv2.__version__)
    return hashlib.sha256(os.fsencode(path.absolute()) + repr(known).encode()).hexdigest()[:40]


def _free(folder: Path) -> int:
    """Bytes free where `folder` is or will be; 0 where that cannot be found out."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return 0


def _size(count: float) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**8 else f"{count / 10**6:.0f} MB"


def _words(error: OSError) -> str:
    return reason_of(error).lower()
