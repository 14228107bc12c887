"""Parts of a picture without the whole: from a file that stores it in parts, through pyvips, or from the memory."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType

import numpy as np

from cyclegan.images.formats import npy, pnm, vips
from cyclegan.images.formats.sources import ByteSource, explain_decode_error, opened
from cyclegan.images.formats.tiff import regions
from cyclegan.images.picture import Header, ImageMetadata, Picture
from cyclegan.images.reading import header_of, read_source

SMALL = 64 * 2**20  # bytes of pixels: no more than this is decoded whole and kept, which is quickest
Part = tuple[np.ndarray, np.ndarray | None]


class Regions(ABC):
    """A picture of which parts are read; a context manager, for one thread at a time.

    `header` is that of the picture, and `details` what goes over to its translation; of several pages they are those of
    the first. Colours are in sRGB, as `read_picture` gives them.
    """

    header: Header
    details: ImageMetadata

    @abstractmethod
    def read(self, top: int, left: int, height: int, width: int) -> Part:
        """The pixels (H×W×C) of a part that lies within the picture, and its transparency (H×W) or None.

        `UnreadableImage` where they are damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back the file."""

    def __enter__(self) -> Regions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, top: int, left: int, height: int, width: int) -> None:
        down, across = self.header.height, self.header.width
        rows, columns = 0 <= top < top + height <= down, 0 <= left < left + width <= across
        assert rows, f"rows {top} to {top + height} of {down}"
        assert columns, f"columns {left} to {left + width} of {across}"


class ArrayRegions(Regions):
    """Parts of a picture in memory."""

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
        """Nothing is held but memory."""


class _FileRegions(Regions):
    """Parts of a file that stays open."""

    def __init__(
        self,
        source: ByteSource,
        header: Header,
        details: ImageMetadata,
        reader: Callable[..., Part],
        files: contextlib.ExitStack,
    ) -> None:
        self._source, self.header, self.details, self._reader, self._files = source, header, details, reader, files

    def read(self, top: int, left: int, height: int, width: int) -> Part:
        """See `Regions.read`."""
        self._check(top, left, height, width)
        with explain_decode_error(self._source.path):
            return self._reader(top, left, height, width)

    def close(self) -> None:
        """Give back the file."""
        self._files.close()


# What a format offers: its details and a reader of parts, or None where this very file cannot be read so
Offer = tuple[ImageMetadata, Callable[..., Part]] | None
_WAYS: dict[str, Callable[[ByteSource, contextlib.ExitStack, Header, int | None], Offer]] = {
    "NPY": lambda source, *_: npy.parts(source),
    "TIFF": lambda source, files, *_: regions.parts(source, files),
    "PNG": lambda source, files, *more: vips.parts(source, *more),
    "JPEG": lambda source, files, *more: vips.parts(source, *more),
    "WEBP": lambda source, files, *more: vips.parts(source, *more),
    "PPM": lambda source, *_: pnm.parts(source),
}


def open_regions(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Regions:
    """The picture in a file, to be read in parts; of a document the first page.

    A TIFF is read by its tiles or strips, an array file where it lies, and others by pyvips (extra `large`), which
    unpacks large ones into a temporary file. What is small, turned, or of a kind that can only be decoded whole, is, if
    it has no more than `max_pixels` pixels (None: 358 million, and no bound for TIFF and array files that are read in
    parts). `UnreadableImage` says what is wrong.
    """
    with contextlib.ExitStack() as files, explain_decode_error(path):
        source = files.enter_context(opened(path))
        header = header_of(source)
        if max_pixels is not None:
            source.check_size(header.height, header.width, 1, max_pixels)
        way = _WAYS.get(source.format)
        offer = way(source, files, header, max_pixels) if way and header.nbytes > SMALL else None
        if offer is None:
            return ArrayRegions(read_source(source, max_pixels))
        return _FileRegions(source, header, *offer, files.pop_all())
    raise AssertionError("unreachable")
