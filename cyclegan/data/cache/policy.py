"""Which cache a run gets: by what its pictures take once decoded, and by what the machine has."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import PIL

from cyclegan.config import TrainConfig
from cyclegan.data.cache.stores import VERSION, Cache, DiskCache, MemoryCache
from cyclegan.data.kinds import PLAIN, InputKind, InputKinds, spread
from cyclegan.data.loading.regions import is_large
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.data.transforms import Transform, prepared_size
from cyclegan.errors import reason_of
from cyclegan.images import UnreadableImage, read_header
from cyclegan.system.files import cache_folder
from cyclegan.system.memory import available_memory

SAMPLED = 32  # pictures of each domain whose headers are read to estimate what all of them take
GB = 10**9

log = logging.getLogger("cyclegan")


@dataclass(frozen=True)
class _Situation:
    """What the choice, and each kind of cache, goes by."""

    paths: list[Path]  # by place: domain after domain
    facts: list[str]  # by place, what its prepared pixels depend on besides the file
    need: int  # bytes that all pictures take, estimated
    memory: int  # bytes available to this process


def open_cache(
    config: TrainConfig,
    sets: PictureSets,
    kinds: InputKinds,
    transform: Transform,
    *,
    ranks: int = 1,
) -> Cache:
    """The cache that --cache asks for, or the best that fits, for the pictures that `sets` has to learn from.

    Estimating reads up to 32 headers of each domain, some 5 ms. What a picture is known by on disk (path, size, time of
    change, what is done to it, versions) is taken here, once: a picture that changes while the run lasts goes on as it
    was. `ranks` processes share the memory of the machine. A disk that cannot be written to is a warning, said here and
    once.
    """
    facts = {domain: repr((transform.depends_on, *kinds[domain].depends_on)) for domain in sets.train}
    now = _Situation(
        paths=[pictures.path(index) for pictures in sets.train.values() for index in range(len(pictures))],
        facts=[facts[domain] for domain, pictures in sets.train.items() for _ in pictures.names],
        need=sum(
            estimate(pictures, transform.load_size, kinds[domain], in_parts=transform.windows)
            for domain, pictures in sets.train.items()
        ),
        memory=available_memory() // ranks,
    )
    chosen: str = config.cache
    if chosen not in KINDS:
        chosen = choose_cache(now.need, now.memory, _free(pictures_folder()))
    return KINDS[chosen](now)


def choose_cache(need: int, memory: int, disk: int) -> str:
    """What auto means, by bytes: "ram" up to a third of the available memory, "disk" up to a quarter of that free."""
    if 3 * need <= memory:
        return "ram"
    return "disk" if 4 * need <= disk else "off"


def estimate(pictures: FileList, load_size: int | None, kind: InputKind = PLAIN, *, in_parts: bool = False) -> int:
    """Bytes that `pictures` take once prepared, from the headers of a sample spread evenly over the folder.

    Large ones that are read `in_parts` are not kept.
    """
    sizes = []
    for index in spread(len(pictures), SAMPLED):
        try:
            header = read_header(pictures.path(index))
        except UnreadableImage:
            continue  # said when its turn comes in training
        if in_parts and is_large(header):
            sizes.append(0.0)
            continue
        height, width = prepared_size(header.height, header.width, load_size)
        sizes.append(kind.channels * kind.dtype.itemsize * height * width)
    return round(len(pictures) * sum(sizes) / len(sizes)) if sizes else 0


def pictures_folder() -> Path:
    """Where decoded pictures lie."""
    return cache_folder() / f"pictures-v{VERSION}"


def _in_memory(now: _Situation) -> Cache:
    capacity = now.memory // 2
    try:
        # Twice the estimate, since it is one; more would only be refused where address space is limited
        cache = MemoryCache(len(now.paths), min(capacity, 2 * now.need + 2**26))
    except OSError as error:  # a limit on the size of files, or on mappings
        log.warning("no memory for decoded pictures (%s); they are decoded anew each time", reason_of(error).lower())
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
            reason_of(error).lower(),
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
    """A name for everything that the prepared pixels of a file depend on; the decoder and the scaling among it."""
    try:
        status = path.stat()
    except OSError:  # a link to nowhere; training says so when it comes to it
        return None
    known = (status.st_size, status.st_mtime_ns, facts, VERSION, PIL.__version__, cv2.__version__)
    return hashlib.sha256(os.fsencode(path.absolute()) + repr(known).encode()).hexdigest()[:40]


def _free(folder: Path) -> int:
    """Bytes free where `folder` is or will be; 0 where nobody can say."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return 0


def _size(count: float) -> str:
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / 10**6:.0f} MB"
