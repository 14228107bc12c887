"""JPEG 2000: 8 bits and grey by Pillow, deeper colour by imagecodecs (extra `tiff`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclegan.images.formats import pillow, required
from cyclegan.images.formats.npy import mode_of
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture

_START = b"\xff\x4f\xff\x51"  # of the codestream, with the SIZ marker
_SIZES = 42  # bytes from there to the first channel's depth (ISO 15444-1, A.5.1)
_FURTHEST = 2**20  # bytes of boxes before it, colour profiles included


@dataclass(frozen=True)
class _Sizes:
    """Sizes and channels from the codestream."""

    height: int
    width: int
    samples: int  # transparency among them
    signed: bool

    @property
    def alpha(self) -> bool:
        """True if the last sample is transparency, as Pillow and browsers assume."""
        return self.samples in (2, 4)

    @property
    def header(self) -> Header:
        dtype, channels = np.dtype(np.int16 if self.signed else np.uint16), self.samples - self.alpha
        return Header(self.height, self.width, channels, dtype, "JPEG2000", mode_of(channels, dtype, self.alpha))


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    deep = _deep(source)
    return pillow.header(source) if deep is None else deep.header


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file."""
    deep = _deep(source)
    if deep is None:
        return pillow.read(source, at_least, max_pixels)
    source.check_size(deep.height, deep.width, 1, max_pixels)
    codecs = required("imagecodecs", "JPEG 2000 of more than 8 bits a channel")
    stored = np.asarray(codecs.jpeg2k_decode(source.data())).reshape(deep.height, deep.width, deep.samples)
    pixels = np.ascontiguousarray(stored[:, :, : deep.header.channels])
    alpha = np.ascontiguousarray(stored[:, :, -1]) if deep.alpha else None
    return Picture(pixels, alpha, ImageMetadata("JPEG2000", deep.header.mode))


def encoded(picture: Picture, bare: bool) -> bytes:
    """Encode a lossless uint16 file; `bare`: the codestream alone, without boxes."""
    codecs = required("imagecodecs", "writing JPEG 2000 of more than 8 bits a channel")
    planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    planes = np.ascontiguousarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
    data: bytes = codecs.jpeg2k_encode(planes, codecformat="j2k" if bare else "jp2", reversible=True)
    return data


def _deep(source: ByteSource) -> _Sizes | None:
    """Sizes of a picture that Pillow would truncate to 8 bits; None for all others."""
    source.stream.seek(0)
    data = source.stream.read(_FURTHEST)
    source.stream.seek(0)
    start = data.find(_START)
    if start < 0 or start + _SIZES + 1 > len(data):
        return None
    right, bottom, left, top = (int.from_bytes(data[start + place : start + place + 4]) for place in (8, 12, 16, 20))
    samples, depth = int.from_bytes(data[start + 40 : start + 42]), data[start + _SIZES]
    if (depth & 0x7F) < 8:  # stored as depth - 1
        return None
    return _Sizes(bottom - top, right - left, samples, bool(depth & 0x80))
