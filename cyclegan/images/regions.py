"""Reading of regions of a picture: from tiles or strips of a file, by pyvips, or from memory."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from cyclegan.images.formats import npy, pnm, vips
from cyclegan.images.formats.sources import ByteSource, explain_decode_error, opened
from cyclegan.images.formats.tiff import regions
from cyclegan.images.picture import Header, ImageMetadata, Part, Parts, Picture
from cyclegan.images.reading import header_of, read_source

SMALL = 64 * 2**20  # bytes of pixels up to which a picture is decoded whole and kept, which is fastest


class Regions(contextlib.AbstractContextManager["Regions"]):
    """A picture read by regions; a context manager, for one thread at a time.

    `header` and `details` (the metadata copied to its translation) are those of the first page. Colours are in sRGB, as
    from `read_picture`.
    """

    header: Header
    details: ImageMetadata

    @abstractmethod
    def read(self, top: int, left: int, height: int, width: int) -> Part:
        """Pixels (H×W×C) of a region within the picture, and its transparency (H×W) or None.

        Raises `UnreadableImage` where they are damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, top: int, left: int, height: int, width: int) -> None:
        down, across = self.header.height, self.header.width
        rows, columns = 0 <= top < top + height <= down, 0 <= left < left + width <= across
        assert rows, f"rows {top} to {top + height} of {down}"
        assert columns, f"columns {left} to {left + width} of {across}"


class ArrayRegions(Regions):
    """Regions of a picture in memory."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.details = picture.details
        kind = (picture.details.format, picture.details.mode)
        self.header = Header(picture.height, picture.width, picture.channels, picture.pixels.dtype, *kind)

    def read(self, top: int, left: int, height: int, width: int) -> Part:
        """See `Regions.read`; copies."""
        self._check(top, left, height, width)
        part = np.s_[top : top + height, left : left + width]
        return self.picture.pixels[part].copy(), None if self.picture.alpha is None else self.picture.alpha[part].copy()

    def close(self) -> None:
        pass  # no file is open


class _FileRegions(Regions):
    """Regions of a file that stays open."""

    def __init__(self, source: ByteSource, header: Header, parts: Parts, files: contextlib.ExitStack) -> None:
        self._source, self.header, self._files = source, header, files
        self.details, self._read = parts

    def read(self, top: int, left: int, height: int, width: int) -> Part:
        self._check(top, left, height, width)
        with explain_decode_error(self._source.path):
            return self._read(top, left, height, width)

    def close(self) -> None:
        self._files.close()


# The functions return None if this file can only be decoded whole
_READERS: dict[str, Callable[[ByteSource, contextlib.ExitStack, Header, int | None], Parts | None]] = {
    "NPY": lambda source, *_: npy.parts(source),
    "PPM": lambda source, *_: pnm.parts(source),
    "TIFF": lambda source, files, *_: regions.parts(source, files),
    **dict.fromkeys(("PNG", "JPEG", "WEBP"), lambda source, files, *more: vips.parts(source, *more)),
}


def open_regions(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Regions:
    """Open a picture file, of a document the first page, for reading by regions.

    A TIFF is read by its tiles or strips, an array file by memory mapping, and others by pyvips (extra `large`), which
    unpacks large ones into a temporary file. Small and rotated pictures, and kinds that cannot be read by regions, are
    decoded whole, if they have no more than `max_pixels` pixels (None: 358 million, and no limit for TIFF and array
    files read by regions). `UnreadableImage` names the fault.
    """
    with contextlib.ExitStack() as files, explain_decode_error(path):
        source = files.enter_context(opened(path))
        header = header_of(source)
        if max_pixels is not None:
            source.check_size(header.height, header.width, 1, max_pixels)
        open_parts = _READERS.get(source.format)
        parts = open_parts(source, files, header, max_pixels) if open_parts and header.nbytes > SMALL else None
        if parts is None:
            return ArrayRegions(read_source(source, max_pixels))
        return _FileRegions(source, header, parts, files.pop_all())
    raise AssertionError("unreachable")
