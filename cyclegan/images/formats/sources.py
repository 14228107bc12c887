"""Where the bytes of a picture come from: a regular file or the memory; and what goes wrong with them, as one error."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from cyclegan.images.formats import (
    DEFAULT_MAX_PIXELS,
    FORMATS,
    HEAD,
    MissingExtra,
    UnreadableImage,
    format_of,
)


@dataclass(frozen=True)
class ByteSource:
    """The bytes of one file, of a format we know."""

    path: str | os.PathLike[str]  # for words; the bytes come from `stream`
    stream: BinaryIO  # seekable, at its beginning
    size: int  # bytes
    format: str  # a key of FORMATS

    def data(self) -> bytes:
        """All of them."""
        self.stream.seek(0)
        return self.stream.read()

    def check_size(self, height: int, width: int, count: int, max_pixels: int | None) -> None:
        """Refuse a picture of more pixels than may be decoded, before any are; `count` is the number of pages."""
        limit = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        if height < 1 or width < 1:
            raise UnreadableImage(self.path, f"it says that it is {width}×{height} pixels large")
        if height * width * count > limit:
            raise UnreadableImage(self.path, too_many(height, width, count, limit))


def too_many(height: int, width: int, count: int, limit: int) -> str:
    """The reason why so many pixels are not decoded."""
    pages = f" and {count} pages" if count > 1 else ""
    allowed = f"{limit / 1e6:.0f} million" if limit >= 10**6 else str(limit)
    return (
        f"{width}×{height} pixels{pages} are more than {allowed} pixels; allow more by --max-pixels, or scale it down"
    )


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[ByteSource]:
    """The file at `path` as a source. `UnreadableImage` for what is no regular file or of no format we know."""
    try:
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - below; what the block raises is not this
    except OSError as error:
        reason = _special(path) or (error.strerror or str(error)).lower()
        raise UnreadableImage(path, reason) from error
    with stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage(path, _special(path) or "not a file")
        yield _known(path, stream, status.st_size)


def in_memory(data: bytes, path: str | os.PathLike[str]) -> ByteSource:
    """The bytes of a file as a source; `path` is only for the words of errors."""
    return _known(path, io.BytesIO(data), len(data))


@contextlib.contextmanager
def explain_decode_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever a decoder raises on a file, as `UnreadableImage`."""
    silence_decoders()
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except MissingExtra as error:
        raise UnreadableImage(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, _unknown()) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UnreadableImage(path, f"more than {limit} million pixels; scale it down first") from error
    except Exception as error:
        # On damaged bytes decoders raise whatever they stumble over: OSError, SyntaxError, struct.error and more
        raise UnreadableImage(path, str(error).strip() or type(error).__name__) from error


def silence_decoders() -> None:
    """Keep what decoders say of damaged or unknown tags from the user's screen, now and later.

    Pillow warns and tifffile logs; neither knows which file it speaks of, and what it means for a picture is in its
    notes or in the reason why it cannot be read. The filters of warnings belong to the process and not to a thread, so
    that setting and resetting them around each picture would race: they are set once, for these modules alone, and
    again where somebody has reset them.
    """
    if not any(entry[0] == "ignore" and getattr(entry[3], "pattern", "") == "PIL" for entry in warnings.filters):
        warnings.filterwarnings("ignore", module="PIL")
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _known(path: str | os.PathLike[str], stream: BinaryIO, size: int) -> ByteSource:
    try:
        head = stream.read(HEAD)
        stream.seek(0)
    except OSError as error:
        raise UnreadableImage(path, (error.strerror or str(error)).lower()) from error
    if not head:
        raise UnreadableImage(path, "the file is empty")
    name = format_of(head)
    if name is None:
        raise UnreadableImage(path, _unknown())
    return ByteSource(path, stream, size, name)


def _without_waiting(path: str, flags: int) -> int:
    """Open as `open` does, but a pipe at once, where it would wait for a writer, so that it can be looked at."""
    return os.open(path, flags | os.O_NONBLOCK)


def _special(path: str | os.PathLike[str]) -> str | None:
    """What stands at `path` in place of a file, in words."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None  # the error of opening it says why
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "is a directory"
    return "a pipe, a socket or a device, not a file"


def _unknown() -> str:
    return f"not a picture, or none of {', '.join(FORMATS)}"
