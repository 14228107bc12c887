"""PNG: its chunks are checked first, so that damage is found, and 16 bits per channel are kept."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
COLOUR_TYPES = {samples: colour for colour, samples in _STORED.items()}
_MODES = {0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}
_WITH_ALPHA = (4, 6)
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_PIECE = 2**20  # bytes inflated at a time
_LARGEST_NOTE = 2**24  # bytes of a metadata chunk; larger ones are skipped when reading a header


@dataclass(frozen=True)
class Chunk:
    """One chunk of a PNG: its kind and the position of its content."""

    kind: bytes
    start: int
    length: int


@dataclass(frozen=True)
class _Top:
    """Content of the first chunk, IHDR."""

    width: int
    height: int
    depth: int  # bits per sample
    colour: int
    interlaced: bool

    @classmethod
    def of(cls, data: bytes) -> _Top:
        """Parse the 13 bytes of the chunk; `ValueError` for an invalid colour type."""
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[:13])
        if colour not in _CHANNELS:
            raise ValueError(f"PNG has no colour type {colour}")
        return cls(width, height, depth, colour, bool(interlaced))

    @property
    def deep(self) -> bool:
        """True if Pillow would truncate its values."""
        return self.depth == 16


def header(source: ByteSource) -> Header:
    """Header of the picture in a file, from its metadata chunks."""
    parts = _noted(source)
    top = _top(parts)
    image = pillow.open_image(_beside_pixels(source, parts))
    *_, orientation = exif_and_xmp(image.info, [])
    height, width = upright_size(top.height, top.width, orientation)
    if top.deep:
        mode = _MODES[top.colour]
        return Header(height, width, _CHANNELS[top.colour], np.dtype(np.uint16), "PNG", mode)
    return pillow.header_of(image, "PNG", height, width)


def beside_pixels(source: ByteSource) -> Image.Image:
    """Open the metadata of a file by Pillow, without its pixels."""
    return pillow.open_image(_beside_pixels(source, _noted(source)))


def described(source: ByteSource) -> tuple[int, int]:
    """Start and end of the chunks between IHDR and the pixels."""
    chunks = _walk(source)
    first = next(chunks)
    return first.start + first.length + 4, next(other.start - 8 for other in chunks if other.kind == b"IDAT")


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file; of an animation the default image."""
    data = source.data()
    parts: list[tuple[bytes, bytes]] = []
    pixels: list[memoryview] = []
    view = memoryview(data)
    top = None
    for chunk in _walk(replace(source, stream=io.BytesIO(data))):
        content = view[chunk.start : chunk.start + chunk.length]
        end = chunk.start + chunk.length
        if zlib.crc32(content, zlib.crc32(chunk.kind)) != int.from_bytes(view[end : end + 4]):
            raise ValueError(f"the checksum of its {chunk.kind.decode('latin-1')} chunk is wrong")
        if chunk.kind == b"IDAT":
            pixels.append(content)
        else:
            parts.append((chunk.kind, bytes(content)))
        if top is None:
            top = _top(parts)
            source.check_size(top.height, top.width, 1, max_pixels)
    if top is None or not pixels:
        raise ValueError("it has no pixels")
    frames = [int.from_bytes(content[:4]) for kind, content in parts if kind == b"acTL"]
    notes = [f"the first of {frames[0]} frames"] if frames and frames[0] > 1 else []
    if top.deep:
        return _deep(source, top, parts, pixels, notes)
    if frames:
        data = _file([part for part in parts if part[0] not in _ANIMATION], pixels)
    picture = pillow.read(replace(source, stream=io.BytesIO(data)), at_least, max_pixels)
    return replace(picture, details=replace(picture.details, notes=(*picture.details.notes, *notes)))


def _deep(
    source: ByteSource, top: _Top, parts: list[tuple[bytes, bytes]], content: list[memoryview], notes: list[str]
) -> Picture:
    import cv2

    image = pillow.open_image(_beside_pixels(source, parts))
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


def _walk(source: ByteSource) -> Iterator[Chunk]:
    """The chunks of a PNG in order; `ValueError` if the file ends before the last one."""
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
        yield Chunk(kind, position + 8, length)
        position += 12 + length


def _noted(source: ByteSource) -> list[tuple[bytes, bytes]]:
    parts: list[tuple[bytes, bytes]] = []
    for chunk in _walk(source):
        if chunk.kind != b"IDAT" and chunk.kind not in _ANIMATION and chunk.length <= _LARGEST_NOTE:
            source.stream.seek(chunk.start)
            parts.append((chunk.kind, source.stream.read(chunk.length)))
    return parts


def _top(parts: list[tuple[bytes, bytes]]) -> _Top:
    if not parts or parts[0][0] != b"IHDR" or len(parts[0][1]) < 13:
        raise ValueError("it does not begin as a PNG")
    return _Top.of(parts[0][1])


def _beside_pixels(source: ByteSource, parts: list[tuple[bytes, bytes]]) -> ByteSource:
    """The file without pixels and animation, so that Pillow reads all metadata on opening it."""
    data = _file([part for part in parts if part[0] not in _ANIMATION], [])
    return replace(source, stream=io.BytesIO(data), size=len(data))


def _file(parts: list[tuple[bytes, bytes]], pixels: list[memoryview]) -> bytes:
    chunks = [chunk(kind, content) for kind, content in parts if kind != b"IEND"]
    return b"".join([SIGNATURE, *chunks, chunk(b"IDAT", b"".join(pixels)), chunk(b"IEND", b"")])


def chunk(kind: bytes, content: bytes) -> bytes:
    """Encode a chunk."""
    return b"".join(
        [struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))]
    )


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
    planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    height, width, samples = planes.shape
    stored = np.ascontiguousarray(planes, ">u2").view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + stored.shape[1]), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = stored[0]
    rows[1:, 1:] = stored[1:] - stored[:-1]
    top = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[samples], 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows.data, level))
    return b"".join([SIGNATURE, chunk(b"IHDR", top), described, pixels, chunk(b"IEND", b"")])
