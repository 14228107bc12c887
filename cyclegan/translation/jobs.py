"""One picture to translate: where its bytes are, how they become a `Picture`, and how its translation is written.

What goes wrong with one picture is a `Failure`, a row of the report; it stops no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cyclegan.errors import CycleganError
from cyclegan.images import (
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

    name: str  # as reports give it: relative to the source
    source: str  # the file that holds its bytes
    target: str  # relative to the folder that the translations go to
    span: tuple[int, int] | None = None  # where in that file they are, as offset and length; None: all of it


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture was not translated."""

    error: str  # the name of the class of what was raised
    reason: str  # in words

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What `error` says of one picture."""
        if isinstance(error, UnreadableImage):
            return cls(type(error).__name__, error.reason)
        return cls(type(error).__name__, str(error) or type(error).__name__)


@dataclass(frozen=True)
class TiledPicture:
    """A picture that is translated in tiles of `tile` pixels, when its turn has come, and in no company."""

    tile: int
    picture: Picture | None  # None: it stays in its file, of which one tile after the other is read


TileFor = Callable[[Header], int | None]  # the tiles that a picture is to be cut into; None: it is not


@dataclass(frozen=True)
class PictureIO:
    """How pictures are read and their translations are written: what the two ends of a pipeline need to know."""

    root: str = ""  # the folder that the translations go to
    temporary: str | None = None  # where their files are begun, on the same file system; None: beside them
    size: int | None = None  # of the shorter side, to which pictures are scaled before they are translated
    max_pixels: int | None = None
    quality: int = 95
    png_level: int = 1

    def read(self, job: Job, tile_for: TileFor | None = None) -> Picture | TiledPicture | Failure:
        """The picture of a job, scaled; or that `tile_for` wants it in tiles; or why there is none."""
        try:
            if job.span is None and self.size is None and tile_for is not None:
                header = read_header(job.source, max_pixels=self.max_pixels)
                tile = tile_for(header)
                if tile is not None and header.pages == 1:
                    return TiledPicture(tile, None)
                picture = self._decoded(job)
            else:
                picture = self._decoded(job)
                tile = None if tile_for is None else tile_for(header_of(picture))
            return picture if tile is None else TiledPicture(tile, picture)
        except (CycleganError, MemoryError) as error:
            return _read_failure(error)

    def _decoded(self, job: Job) -> Picture:
        how: dict[str, int | None] = {"at_least": self.size, "max_pixels": self.max_pixels}
        if job.span is None:
            picture = read_picture(job.source, **how)
        else:
            picture = decode_picture(_part(job.source, *job.span), job.name, **how)
        return picture if self.size is None else resized(picture, self.size)

    def write(self, job: Job, picture: Picture) -> Failure | None:
        """Put a translation in its place, whole or not at all; why it could not be."""
        target = self.target(job)
        try:
            data = encode_picture(picture, target.suffix, quality=self.quality, png_level=self.png_level)
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, data, temporary_in=self.temporary)
        except (OSError, CycleganError, MemoryError) as error:
            return write_failure(error)
        return None

    def target(self, job: Job) -> Path:
        """The file that the translation of a job becomes."""
        return Path(self.root, job.target)


def header_of(picture: Picture) -> Header:
    """What the header of a file would say of a picture in memory."""
    details = picture.details
    size = picture.height, picture.width, picture.channels
    return Header(*size, picture.pixels.dtype, details.format, details.mode, 1 + len(picture.pages))


def write_failure(error: Exception) -> Failure:
    """Why a translation was not written."""
    if isinstance(error, OSError):
        return Failure(type(error).__name__, f"cannot write it ({(error.strerror or str(error)).lower()})")
    if isinstance(error, MemoryError):
        return Failure(type(error).__name__, "the memory did not suffice to write it")
    return Failure(type(error).__name__, f"cannot write it ({error})")


def _read_failure(error: CycleganError | MemoryError) -> Failure:
    if isinstance(error, MemoryError):
        return Failure("MemoryError", "the memory does not suffice to decode it")
    return Failure.of(error)


def _part(path: str, offset: int, length: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except OSError as error:
        raise UnreadableImage(path, (error.strerror or str(error)).lower()) from error
    if len(data) < length:
        raise UnreadableImage(path, f"the archive ends after {len(data)} of its {length} bytes")
    return data


def identity_of(path: str) -> list[int] | None:
    """What changes when a file does: its size and the times of its content and its permissions; None without one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
