"""Picture files to pictures: one reader for every format, one error for every way to be broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cyclegan.images.formats import jpeg2000, npy, pillow, png, pnm, tiff
from cyclegan.images.formats.sources import ByteSource, explain_decode_error, in_memory, opened
from cyclegan.images.picture import Header, Picture


@dataclass(frozen=True)
class _Format:
    """How files of a format are read. Both raise whatever their library raises on a damaged file."""

    header: Callable[[ByteSource], Header] = field(default=pillow.header)
    read: Callable[[ByteSource, int | None, int | None], Picture] = field(default=pillow.read)


_OTHERS = _Format()
_READERS: dict[str, _Format] = {
    "PNG": _Format(png.header, png.read),
    "PPM": _Format(pnm.header, pnm.read),
    "TIFF": _Format(tiff.header, tiff.read),
    "JPEG2000": _Format(jpeg2000.header, jpeg2000.read),
    "NPY": _Format(npy.header, npy.read),
}


def read_picture(
    path: str | os.PathLike[str], *, at_least: int | None = None, max_pixels: int | None = None
) -> Picture:
    """The picture in a file: its numbers as they are stored, upright, colours in sRGB.

    Of an animation the first frame; of a document all pages that are like the first. What was left out is in
    `details.notes`. `at_least` is the shorter side that the caller is going to scale it to: a JPEG that is far larger
    is then decoded at 1/2, 1/4 or 1/8 of its size, to no less than 3 × `at_least`, which takes a fraction of the time,
    and `details.container["size"]` has the height and width it has in full. Pictures of more than `max_pixels` (None:
    358 million; all pages count) are not decoded. `UnreadableImage` says what is wrong.
    """
    with opened(path) as source, explain_decode_error(path):
        return read_source(source, max_pixels, at_least)


def decode_picture(
    data: bytes, path: str | os.PathLike[str], *, at_least: int | None = None, max_pixels: int | None = None
) -> Picture:
    """The picture in the bytes of a file; `path` is only for the words of `UnreadableImage`. See `read_picture`."""
    with explain_decode_error(path):
        return read_source(in_memory(data, path), max_pixels, at_least)


def read_header(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Header:
    """What a file says of its picture, read from its beginning: some 0.2 ms.

    That the pixels behind it are whole is not looked at. `UnreadableImage` says what is wrong, and with `max_pixels`
    also that there are more.
    """
    with opened(path) as source, explain_decode_error(path):
        found = header_of(source)
        if max_pixels is not None:
            source.check_size(found.height, found.width, found.pages, max_pixels)
        return found


def read_source(source: ByteSource, max_pixels: int | None = None, at_least: int | None = None) -> Picture:
    """The picture in an open file; raises whatever its library raises."""
    return _READERS.get(source.format, _OTHERS).read(source, at_least, max_pixels)


def header_of(source: ByteSource) -> Header:
    """What an open file says of its picture; raises whatever its library raises."""
    return _READERS.get(source.format, _OTHERS).header(source)
