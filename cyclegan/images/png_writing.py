"""PNG of 16 bits a channel, and what stands beside the pixels of any PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from cyclegan.images.colour import srgb_profile
from cyclegan.images.metadata import exif_body
from cyclegan.images.picture import Details
from cyclegan.images.png import SIGNATURE, chunk

_TYPES = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}  # of colour, by channels and transparency
_UP = 2  # the filter: each byte as its difference from the one above, which numpy makes at once
_INCH = 0.0254  # metres
_AFTER_TOP = len(SIGNATURE) + 25


def top(height: int, width: int, channels: int, dtype: np.dtype, alpha: bool) -> bytes:
    """The beginning of a file, to the end of its first chunk."""
    fields = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, _TYPES[channels, alpha], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", fields)


def end() -> bytes:
    """The last chunk."""
    return chunk(b"IEND", b"")


class Rows:
    """Rows of pixels to the bytes of IDAT chunks, band by band from the top."""

    def __init__(self, level: int) -> None:
        self._deflate = zlib.compressobj(level)
        self._above: np.ndarray | None = None

    def add(self, pixels: np.ndarray, alpha: np.ndarray | None) -> bytes:
        """Whole rows, uint8 or uint16 H×W×C with transparency H×W, as what they add to the file."""
        planes = pixels if alpha is None else np.dstack([pixels, alpha])
        planes = np.ascontiguousarray(planes, planes.dtype.newbyteorder(">"))
        stored = planes.view(np.uint8).reshape(len(planes), -1)
        above = np.zeros_like(stored[:1]) if self._above is None else self._above
        rows = np.empty((len(stored), 1 + stored.shape[1]), np.uint8)
        rows[:, 0] = _UP
        rows[:, 1:] = stored - np.concatenate([above, stored[:-1]])
        self._above = stored[-1:].copy()
        return self._chunk(self._deflate.compress(rows.data))

    def finish(self) -> bytes:
        """What was held back."""
        return self._chunk(self._deflate.flush())

    @staticmethod
    def _chunk(data: bytes) -> bytes:
        return chunk(b"IDAT", data) if data else b""


def deep(pixels: np.ndarray, alpha: np.ndarray | None, level: int) -> bytes:
    """The bytes of a file with uint16 pixels, one or three channels."""
    rows = Rows(level)
    start = top(pixels.shape[0], pixels.shape[1], pixels.shape[2], pixels.dtype, alpha is not None)
    return b"".join([start, rows.add(pixels, alpha), rows.finish(), end()])


def with_details(data: bytes, details: Details, tagged: bool) -> bytes:
    """A file with what was said beside the pixels; `tagged`: with the profile that says sRGB."""
    return b"".join([data[:_AFTER_TOP], beside(details, tagged), data[_AFTER_TOP:]])


def beside(details: Details, tagged: bool) -> bytes:
    """The chunks beside the pixels, which stand between the first chunk and the pixels."""
    parts = []
    if tagged:
        parts.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(srgb_profile())))
    if details.dpi is not None:
        across, down = (min(round(value / _INCH), 2**31 - 1) for value in details.dpi)
        parts.append(chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if details.exif:
        parts.append(chunk(b"eXIf", exif_body(details.exif)))
    if details.xmp:
        parts.append(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + details.xmp))
    return b"".join(parts)
