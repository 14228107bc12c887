"""Jobs of one picture each: location, reading and writing.

An error in one picture becomes a `Failure`, a row of the report, and does not stop the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cyclegan.errors import CycleganError, reason_of
from cyclegan.images import (
    ArrayRegions,
    Header,
    Picture,
    UnreadableImage,
    decode_picture,
    encode_picture,
    read_header,
    read_picture,
)
from cyclegan.system.files import atomic_write
from cyclegan.translation.resizing import resized


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to translate."""

    name: str  # as in reports: relative to the source
    source: str  # absolute path of the file that contains it
    target: str  # relative to the output folder
    span: tuple[int, int] | None = None  # offset and length within that file; None: the whole file


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a picture was not translated."""

    error: str  # class name of the exception
    reason: str  # readable

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Build a failure from an exception."""
        if isinstance(error, UnreadableImage):
            return cls(type(error).__name__, error.reason)
        return cls(type(error).__name__, str(error) or type(error).__name__)


OnResult = Callable[[Job, Failure | None], None]  # None: the translation is written


@dataclass(frozen=True)
class TiledPicture:
    """A picture to translate in tiles of `tile` pixels, never in a batch with others."""

    tile: int
    picture: Picture | None  # None: tiles are read from its file one by one


TileFor = Callable[[Header], int | None]  # tile size of a picture; None: translate it whole


@dataclass(frozen=True)
class PictureIO:
    """Settings for reading pictures and writing their translations."""

    root: str = ""  # output folder
    temporary: str | None = None  # folder for temporary files, on the same file system; None: beside the target
    size: int | None = None  # pictures are scaled to this shorter side before translation
    max_pixels: int | None = None
    quality: int = 95
    png_level: int = 1

    def read(self, job: Job, tile_for: TileFor | None = None) -> Picture | TiledPicture | Failure:
        """Read and scale the picture of a job; a `TiledPicture` if `tile_for` returns a tile size."""
        try:
            if job.span is None and self.size is None and tile_for is not None:
                header = read_header(job.source, max_pixels=self.max_pixels)
                tile = tile_for(header)
                if tile is not None and header.pages == 1:
                    return TiledPicture(tile, None)
                picture = self._decoded(job)
            else:
                picture = self._decoded(job)
                tile = None if tile_for is None else tile_for(ArrayRegions(picture).header)
            return picture if tile is None else TiledPicture(tile, picture)
        except CycleganError as error:
            return Failure.of(error)
        except MemoryError:
            return Failure("MemoryError", "not enough memory to decode it")

    def _decoded(self, job: Job) -> Picture:
        how: dict[str, int | None] = {"at_least": self.size, "max_pixels": self.max_pixels}
        if job.span is None:
            picture = read_picture(job.source, **how)
        else:
            offset, length = job.span
            try:
                with open(job.source, "rb") as stream:
                    stream.seek(offset)
                    data = stream.read(length)
            except OSError as error:
                raise UnreadableImage(job.source, reason_of(error).lower()) from error
            if len(data) < length:
                raise UnreadableImage(job.source, f"the archive ends after {len(data)} of its {length} bytes")
            picture = decode_picture(data, job.name, **how)
        return picture if self.size is None else resized(picture, self.size)

    def write(self, job: Job, picture: Picture) -> Failure | None:
        """Write a translation atomically; return the failure, if any."""
        target = self.target(job)
        try:
            data = encode_picture(picture, target.suffix, quality=self.quality, png_level=self.png_level)
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, data, temporary_in=self.temporary)
        except (OSError, CycleganError, MemoryError) as error:
            return write_failure(error)
        return None

    def target(self, job: Job) -> Path:
        """Output file of a job."""
        return Path(self.root, job.target)


def write_failure(error: Exception) -> Failure:
    """Build the failure of writing a translation."""
    if isinstance(error, OSError):
        return Failure(type(error).__name__, f"cannot write it ({reason_of(error).lower()})")
    if isinstance(error, MemoryError):
        return Failure(type(error).__name__, "not enough memory to write it")
    return Failure(type(error).__name__, f"cannot write it ({error})")


def identity_of(path: str) -> list[int] | None:
    """Size, mtime and ctime of a file, which change when it does; None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
