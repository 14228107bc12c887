"""PPM and PGM: 8 bits by Pillow, 16-bit colour, which Pillow truncates, by our own code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cyclegan.images.formats import pillow
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture

# Magic number, width, height and white value, with comments between them, and one blank before the pixels
_BLANK = rb"(?:\s|#[^\n\r]*[\n\r])+"
_TOP = re.compile(rb"P([36])" + (_BLANK + rb"(\d+)") * 3 + rb"\s")
_BARE = re.compile(_TOP.pattern.replace(b"[36]", b"[56]", 1))
# Stored type and mode names by channels, for each white value
_WHITES: dict[int, tuple[np.dtype, dict[int, str]]] = {
    255: (np.dtype(np.uint8), {1: "L", 3: "RGB"}),
    65535: (np.dtype(">u2"), {1: "I", 3: "RGB;16"}),
}
_LONGEST_TOP = 2**16  # bytes, comments included


@dataclass(frozen=True)
class _Colour:
    """Header of a colour file."""

    plain: bool  # values as text
    width: int
    height: int
    white: int
    start: int  # of the pixels


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    top = _deep(source)
    if top is None:
        return pillow.header(source)
    return Header(top.height, top.width, 3, np.dtype(np.uint16), "PPM", "RGB;16")


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file, scaled so that white is the maximum of its type."""
    top = _deep(source)
    if top is None:
        return pillow.read(source, at_least, max_pixels)
    source.check_size(top.height, top.width, 1, max_pixels)
    source.stream.seek(top.start)
    count = top.height * top.width * 3
    if top.plain:
        numbers = np.array(re.sub(rb"#[^\n\r]*", b"", source.stream.read()).split()[:count], np.int64)
    else:
        numbers = np.frombuffer(source.stream.read(2 * count), ">u2", -1)
    if len(numbers) < count:
        raise ValueError("image file is truncated")
    if numbers.max() > top.white:
        raise ValueError(f"it holds numbers above its white, {top.white}")
    if top.white != 65535:
        numbers = (numbers.astype(np.int64) * 65535 + top.white // 2) // top.white
    pixels = numbers.astype(np.uint16).reshape(top.height, top.width, 3)
    return Picture(pixels, None, ImageMetadata("PPM", "RGB;16"))


def parts(source: ByteSource) -> tuple[ImageMetadata, Callable[..., tuple[np.ndarray, None]]] | None:
    """Metadata of a picture and a memory-mapped reader of its regions; None for text files."""
    source.stream.seek(0)
    found = _BARE.match(source.stream.read(_LONGEST_TOP))
    if found is None or int(found[4]) not in _WHITES:
        return None
    dtype, name = _WHITES[int(found[4])]
    channels = 1 if found[1] == b"5" else 3
    shape = (int(found[3]), int(found[2]), channels)
    if found.end() + int(np.prod(shape, dtype=object)) * dtype.itemsize > source.size:
        raise ValueError("image file is truncated")

    def read(top: int, left: int, height: int, width: int) -> tuple[np.ndarray, None]:
        # A new map for each region: pages that were read stay in memory as long as their map exists
        mapped = np.memmap(source.stream, dtype, "r", found.end(), shape)
        part = mapped[top : top + height, left : left + width]
        return np.array(part, dtype.newbyteorder("="), order="C", subok=False), None

    return ImageMetadata("PPM", name[channels]), read


def _deep(source: ByteSource) -> _Colour | None:
    """Header of a colour file with more than 8 bits; None for all others."""
    source.stream.seek(0)
    found = _TOP.match(source.stream.read(_LONGEST_TOP))
    source.stream.seek(0)
    if found is None or not 255 < int(found[4]) < 65536:
        return None
    return _Colour(found[1] == b"3", int(found[2]), int(found[3]), int(found[4]), found.end())


def encoded(pixels: np.ndarray) -> bytes:
    """Encode uint16 pixels H×W×1 or H×W×3 as a file."""
    return top_of(pixels.shape[0], pixels.shape[1], pixels.shape[2], pixels.dtype) + pixels.astype(">u2").tobytes()


def top_of(height: int, width: int, channels: int, dtype: np.dtype) -> bytes:
    """The bytes before the pixels."""
    return b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, np.iinfo(dtype).max)
