"""Byte sources of pictures, a regular file or memory, and decoder errors as `UnreadableImage`."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from cyclegan.errors import reason_of
from cyclegan.images.formats import DEFAULT_MAX_PIXELS, FORMATS, HEAD, MissingExtra, UnreadableImage, format_of
from cyclegan.images.picture import Part

_UNKNOWN = f"not a picture, or none of {', '.join(FORMATS)}"


@dataclass(frozen=True)
class ByteSource:
    """The bytes of one file of a known format."""

    path: str | os.PathLike[str]  # for messages; the bytes come from `stream`
    stream: BinaryIO  # seekable, at its beginning
    size: int  # bytes
    format: str  # a key of FORMATS

    def data(self) -> bytes:
        """All bytes of the file."""
        self.stream.seek(0)
        return self.stream.read()

    def check_size(self, height: int, width: int, count: int, max_pixels: int | None) -> None:
        """Raise `UnreadableImage`, before decoding, for too many pixels; `count` is the number of pages."""
        limit = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        if height < 1 or width < 1:
            raise UnreadableImage(self.path, f"it says that it is {width}×{height} pixels large")
        if height * width * count > limit:
            pages = f" and {count} pages" if count > 1 else ""
            allowed = f"{limit / 1e6:.0f} million" if limit >= 10**6 else str(limit)
            raise UnreadableImage(
                self.path,
                f"{width}×{height} pixels{pages} are more than {allowed} pixels; "
                "allow more by --max-pixels, or scale it down",
            )

    def raw_regions(
        self, dtype: np.dtype, start: int, shape: tuple[int, int, int], order: Literal["C", "F"] = "C"
    ) -> Callable[[int, int, int, int], Part]:
        """Memory-mapped reader of regions of the raw pixels H×W×C from byte `start`."""

        def read(top: int, left: int, height: int, width: int) -> Part:
            # A new map for each region: pages that were read stay in memory as long as their map exists
            part = np.memmap(self.stream, dtype, "r", start, shape, order)[top : top + height, left : left + width]
            return np.array(part, dtype.newbyteorder("="), order="C", subok=False), None

        return read


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[ByteSource]:
    """Open the file at `path` as a source; `UnreadableImage` unless a regular file of a known format."""
    try:
        # Not waiting for the writer of a pipe, so that pipes can be detected; errors of the block are not caught here
        stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise UnreadableImage(path, _special(path) or reason_of(error).lower()) from error
    with stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage(path, _special(path) or "not a file")
        yield _known(path, stream, status.st_size)


def in_memory(data: bytes, path: str | os.PathLike[str]) -> ByteSource:
    """The bytes of a file as a source; `path` is only for error messages."""
    return _known(path, io.BytesIO(data), len(data))


@contextlib.contextmanager
def explain_decode_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert whatever a decoder raises to `UnreadableImage`."""
    silence_decoders()
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except MissingExtra as error:
        raise UnreadableImage(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, _UNKNOWN) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UnreadableImage(path, f"more than {limit} million pixels; scale it down first") from error
    except Exception as error:
        # On damaged bytes decoders raise arbitrary errors: OSError, SyntaxError, struct.error and more
        raise UnreadableImage(path, str(error).strip() or type(error).__name__) from error


def silence_decoders() -> None:
    """Suppress the decoders' warnings of damaged or unknown tags, from now on.

    Pillow warns and tifffile logs without naming the file; what matters for a picture is in its notes or in the reason
    why it is unreadable. Warning filters belong to the process and not to a thread, so setting and resetting them
    around each picture would race: they are set once, for these modules alone, and again after a reset by other code.
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
        raise UnreadableImage(path, reason_of(error).lower()) from error
    if not head:
        raise UnreadableImage(path, "the file is empty")
    name = format_of(head)
    if name is None:
        raise UnreadableImage(path, _UNKNOWN)
    return ByteSource(path, stream, size, name)


def _special(path: str | os.PathLike[str]) -> str | None:
    """Description of anything but a regular file at `path`, else None."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None  # the error of opening it tells why
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "is a directory"
    return "a pipe, a socket or a device, not a file"
