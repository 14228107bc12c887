"""PNG: its chunks are checked first, so that damage is found, and 16 bits per channel are kept."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from cyclegan.images.formats import pillow
from cyclegan.images.formats.colour import to_srgb
from cyclegan.images.formats.metadata import exif_and_xmp, resolution, upright_size
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}  # of each colour type, without transparency
_STORED = {0: 1, 2: 3, 4: 2, 6: 4}  # with it, for colour types without palette
_MODES = {0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}
_WITH_ALPHA = (4, 6)
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_PIECE = 2**20  # bytes inflated at a time
_LARGEST_NOTE = 2**24  # bytes of a metadata chunk; larger ones are skipped when reading a header


class _Top(NamedTuple):
    """Content of the first chunk, IHDR."""

    width: int
    height: int
    depth: int  # bits per sample; 16 would be truncated by Pillow
    colour: int
    compression: int
    filter: int
    interlaced: int


def header(source: ByteSource) -> Header:
    """Header of the picture in a file, from its metadata chunks."""
    parts = _noted(source)
    top = _top(parts)
    image = beside_pixels(source, parts)
    *_, orientation = exif_and_xmp(image.info, [])
    height, width = upright_size(top.height, top.width, orientation)
    if top.depth == 16:
        return Header(height, width, _CHANNELS[top.colour], np.dtype(np.uint16), "PNG", _MODES[top.colour])
    return pillow.header_of(image, "PNG", height, width)


def beside_pixels(source: ByteSource, parts: list[tuple[bytes, bytes]] | None = None) -> Image.Image:
    """Open a file by Pillow without its pixels, so that all metadata is read on opening it."""
    data = _file(_noted(source) if parts is None else parts, [])
    return pillow.open_image(replace(source, stream=io.BytesIO(data), size=len(data)))


def described(source: ByteSource) -> tuple[int, int]:
    """Start and end of the chunks between IHDR and the pixels."""
    chunks = _walk(source)
    _, start, length = next(chunks)
    return start + length + 4, next(start - 8 for kind, start, _ in chunks if kind == b"IDAT")


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file; of an animation the default image."""
    data = source.data()
    parts: list[tuple[bytes, bytes]] = []
    pixels: list[memoryview] = []
    view = memoryview(data)
    top = None
    for kind, start, length in _walk(replace(source, stream=io.BytesIO(data))):
        end = start + length
        content = view[start:end]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(view[end : end + 4]):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IDAT":
            pixels.append(content)
        else:
            parts.append((kind, bytes(content)))
        if top is None:
            top = _top(parts)
            source.check_size(top.height, top.width, 1, max_pixels)
    if top is None or not pixels:
        raise ValueError("it has no pixels")
    frames = [int.from_bytes(content[:4]) for kind, content in parts if kind == b"acTL"]
    notes = [f"the first of {frames[0]} frames"] if frames and frames[0] > 1 else []
    if top.depth == 16:
        return _deep(source, top, parts, pixels, notes)
    if frames:
        data = _file(parts, pixels)
    picture = pillow.read(replace(source, stream=io.BytesIO(data)), at_least, max_pixels)
    return replace(picture, details=replace(picture.details, notes=(*picture.details.notes, *notes)))


def _deep(
    source: ByteSource, top: _Top, parts: list[tuple[bytes, bytes]], content: list[memoryview], notes: list[str]
) -> Picture:
    import cv2

    image = beside_pixels(source, parts)
    exif, xmp, orientation = exif_and_xmp(image.info, notes)
    _check_pixels(top, content)
    # OpenCV's library prints warnings about other chunks, and OpenCV applies some of them: it gets none
    bare = np.frombuffer(_file([part for part in parts if part[0] == b"IHDR"], content), np.uint8)
    stored = cv2.imdecode(bare, cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.shape[:2] != (top.height, top.width):
        raise ValueError("its pixels are damaged")
    stored = stored.reshape(top.height, top.width, -1)  # grey, or blue, green, red and transparency
    channels = _CHANNELS[top.colour]
    pixels = np.ascontiguousarray(stored[:, :, channels - 1 :: -1] if channels == 3 else stored[:, :, :1])
    alpha = np.ascontiguousarray(stored[:, :, 3]) if top.colour in _WITH_ALPHA else None
    for key in (data for kind, data in parts if kind == b"tRNS" and len(data) == 2 * channels):
        clear = (pixels == np.frombuffer(key, ">u2")).all(axis=2)
        alpha = np.where(clear, 0, 65535).astype(np.uint16)
    profile = image.info.get("icc_profile") or b""
    if profile:
        pixels = to_srgb(pixels, profile, "L" if channels == 1 else "RGB", notes)
    dpi = resolution(image.info, orientation)
    details = ImageMetadata("PNG", _MODES[top.colour], exif, xmp, bool(profile), dpi, notes=tuple(notes))
    return pillow.turned(Picture(pixels, alpha, details), orientation)


def _walk(source: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of each chunk's content; `ValueError` if the file ends before the last one."""
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        source.stream.seek(position)
        start = source.stream.read(8)
        if len(start) < 8:
            raise ValueError("image file is truncated")
        length, kind = struct.unpack(">I4s", start)
        if position + 12 + length > source.size:
            raise ValueError("image file is truncated")
        yield kind, position + 8, length
        position += 12 + length


def _noted(source: ByteSource) -> list[tuple[bytes, bytes]]:
    parts: list[tuple[bytes, bytes]] = []
    for kind, start, length in _walk(source):
        if kind != b"IDAT" and kind not in _ANIMATION and length <= _LARGEST_NOTE:
            source.stream.seek(start)
            parts.append((kind, source.stream.read(length)))
    return parts


def _top(parts: list[tuple[bytes, bytes]]) -> _Top:
    if not parts or parts[0][0] != b"IHDR" or len(parts[0][1]) < 13:
        raise ValueError("it does not begin as a PNG")
    top = _Top(*struct.unpack(">IIBBBBB", parts[0][1][:13]))
    if top.colour not in _CHANNELS:
        raise ValueError(f"PNG has no colour type {top.colour}")
    return top


def _file(parts: list[tuple[bytes, bytes]], pixels: list[memoryview]) -> bytes:
    """A file of these chunks and pixels, without animation."""
    chunks = [_chunk(kind, content) for kind, content in parts if kind not in (b"IEND", *_ANIMATION)]
    return b"".join([SIGNATURE, *chunks, _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")])


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _check_pixels(top: _Top, content: list[memoryview]) -> None:
    """Raise `ValueError` unless the pixels inflate to the exact size: OpenCV fills in missing ones."""
    passes = [(0, 0, 1, 1)]
    if top.interlaced:  # Adam7: left, top and steps of its seven passes
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    expected = 0
    for left, first, across, down in passes:
        width, height = -(-(top.width - left) // across), -(-(top.height - first) // down)
        expected += height * (1 + width * _STORED[top.colour] * 2) if width > 0 and height > 0 else 0
    inflate = zlib.decompressobj()
    count = 0
    for piece in content:
        waiting: bytes | memoryview = piece
        while waiting:
            count += len(inflate.decompress(waiting, _PIECE))
            waiting = inflate.unconsumed_tail
            if count > expected:
                raise ValueError("it holds more pixels than it says")
    if count + len(inflate.flush()) < expected:
        raise ValueError("image file is truncated")


_UP = 2  # filter: each byte as its difference from the one above, vectorised by numpy


def deep(picture: Picture, level: int, described: bytes) -> bytes:
    """Encode a file with uint16 pixels; `described` are the metadata chunks."""
    planes = picture.planes
    height, width, samples = planes.shape
    stored = np.ascontiguousarray(planes, ">u2").view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + stored.shape[1]), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = stored[0]
    rows[1:, 1:] = stored[1:] - stored[:-1]
    (colour,) = (colour for colour, count in _STORED.items() if count == samples)
    top = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(rows.data, level))
    return b"".join([SIGNATURE, top, described, pixels, _chunk(b"IEND", b"")])
