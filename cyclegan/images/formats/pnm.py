"""PPM and PGM: 8 bits by Pillow, 16-bit colour, which Pillow truncates, by our own code."""

from __future__ import annotations

import re

import numpy as np

from cyclegan.images.formats import pillow
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Effort, Header, ImageMetadata, Parts, Picture

# Magic number, width, height and white value, with comments between them, and one blank before the pixels
_BLANK = rb"(?:\s|#[^\n\r]*[\n\r])+"
_TOP = re.compile(rb"P([356])" + (_BLANK + rb"(\d+)") * 3 + rb"\s")
# Stored type and mode names by channels, for each white value
_WHITES: dict[int, tuple[np.dtype, dict[int, str]]] = {
    255: (np.dtype(np.uint8), {1: "L", 3: "RGB"}),
    65535: (np.dtype(">u2"), {1: "I", 3: "RGB;16"}),
}
_LONGEST_TOP = 2**16  # bytes, comments included


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    top = _deep(source)
    if top is None:
        return pillow.header(source)
    height, width = map(int, top.group(3, 2))
    return Header(height, width, 3, np.dtype(np.uint16), "PPM", "RGB;16")


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file, scaled so that white is the maximum of its type."""
    top = _deep(source)
    if top is None:
        return pillow.read(source, at_least, max_pixels)
    height, width, white = map(int, top.group(3, 2, 4))
    source.check_size(height, width, 1, max_pixels)
    source.stream.seek(top.end())
    count = height * width * 3
    if top[1] == b"3":  # as text
        numbers = np.array(re.sub(rb"#[^\n\r]*", b"", source.stream.read()).split()[:count], np.int64)
    else:
        numbers = np.frombuffer(source.stream.read(2 * count), ">u2", -1)
    if len(numbers) < count:
        raise ValueError("image file is truncated")
    if numbers.max() > white:
        raise ValueError(f"it holds numbers above its white, {white}")
    if white != 65535:
        numbers = (numbers.astype(np.int64) * 65535 + white // 2) // white
    return Picture(numbers.astype(np.uint16).reshape(height, width, 3), None, ImageMetadata("PPM", "RGB;16"))


def parts(source: ByteSource) -> Parts | None:
    """Metadata of a picture and a memory-mapped reader of its regions; None for text files."""
    found = _top(source)
    if found is None or found[1] == b"3" or int(found[4]) not in _WHITES:
        return None
    dtype, modes = _WHITES[int(found[4])]
    channels = 1 if found[1] == b"5" else 3
    shape = (int(found[3]), int(found[2]), channels)
    if found.end() + int(np.prod(shape, dtype=object)) * dtype.itemsize > source.size:
        raise ValueError("image file is truncated")
    return ImageMetadata("PPM", modes[channels]), source.raw_regions(dtype, found.end(), shape)


def _top(source: ByteSource) -> re.Match[bytes] | None:
    """The header: kind, width, height and white."""
    source.stream.seek(0)
    found = _TOP.match(source.stream.read(_LONGEST_TOP))
    source.stream.seek(0)
    return found


def _deep(source: ByteSource) -> re.Match[bytes] | None:
    """Header of a colour file with more than 8 bits; None for all others."""
    found = _top(source)
    return None if found is None or found[1] == b"5" or not 255 < int(found[4]) < 65536 else found


def encoded(picture: Picture, _: Effort) -> bytes:
    """Encode a file of uint8 or uint16 pixels."""
    height, width, channels = (pixels := picture.pixels).shape
    return top_of(height, width, channels, pixels.dtype) + body_of(pixels)


def body_of(pixels: np.ndarray) -> bytes:
    """The bytes of these pixels."""
    return pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


def top_of(height: int, width: int, channels: int, dtype: np.dtype) -> bytes:
    """The bytes before the pixels."""
    return b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, np.iinfo(dtype).max)
