"""Reading of picture files: one function for all formats, one error for all faults."""

from __future__ import annotations

import os

from cyclegan.images.formats import module_of
from cyclegan.images.formats.sources import ByteSource, explain_decode_error, in_memory, opened
from cyclegan.images.picture import Header, Picture


def read_picture(
    path: str | os.PathLike[str], *, at_least: int | None = None, max_pixels: int | None = None
) -> Picture:
    """Read a picture: stored values, upright, colours in sRGB.

    Reads the first frame of an animation, and all pages of a document that are like the first; `details.notes` lists
    what was left out. `at_least` is the shorter side to which the caller will scale: a far larger JPEG is then decoded
    at 1/2, 1/4 or 1/8 of its size, to no less than 3 × `at_least`, in a fraction of the time, and
    `details.container["size"]` holds its full height and width. Pictures of more than `max_pixels` (None: 358 million;
    all pages count) are not decoded. `UnreadableImage` names the fault.
    """
    with opened(path) as source, explain_decode_error(path):
        return read_source(source, max_pixels, at_least)


def decode_picture(
    data: bytes, path: str | os.PathLike[str], *, at_least: int | None = None, max_pixels: int | None = None
) -> Picture:
    """As `read_picture`, from the bytes of a file; `path` is only for error messages."""
    with explain_decode_error(path):
        return read_source(in_memory(data, path), max_pixels, at_least)


def read_header(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Header:
    """Read the header of a picture file, in some 0.2 ms; the pixels are not checked.

    `UnreadableImage` names the fault, including more than `max_pixels` if given.
    """
    with opened(path) as source, explain_decode_error(path):
        found = header_of(source)
        if max_pixels is not None:
            source.check_size(found.height, found.width, found.pages, max_pixels)
        return found


def read_source(source: ByteSource, max_pixels: int | None = None, at_least: int | None = None) -> Picture:
    """Read the picture in an open file; raises whatever its library raises."""
    picture: Picture = module_of(source.format).read(source, at_least, max_pixels)
    return picture


def header_of(source: ByteSource) -> Header:
    """Read the header of an open file; raises whatever its library raises."""
    header: Header = module_of(source.format).header(source)
    return header
