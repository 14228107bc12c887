"""JPEG 2000: 8 bits and grey by Pillow, deeper colour by imagecodecs (extra `tiff`)."""

from __future__ import annotations

import numpy as np

from cyclegan.images.formats import pillow, required
from cyclegan.images.formats.npy import mode_of
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture, separated

_START = b"\xff\x4f\xff\x51"  # of the codestream, with the SIZ marker
_SIZES = 42  # bytes from there to the first channel's depth (ISO 15444-1, A.5.1)
_FURTHEST = 2**20  # bytes of boxes before it, colour profiles included


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    deep = _deep(source)
    return pillow.header(source) if deep is None else deep[0]


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file."""
    deep = _deep(source)
    if deep is None:
        return pillow.read(source, at_least, max_pixels)
    header, samples = deep
    source.check_size(header.height, header.width, 1, max_pixels)
    codecs = required("imagecodecs", "JPEG 2000 of more than 8 bits a channel")
    stored = np.asarray(codecs.jpeg2k_decode(source.data())).reshape(header.height, header.width, samples)
    return Picture(*separated(stored, header.channels), ImageMetadata("JPEG2000", header.mode))


def encoded(picture: Picture, bare: bool) -> bytes:
    """Encode a lossless uint16 file; `bare`: the codestream alone, without boxes."""
    codecs = required("imagecodecs", "writing JPEG 2000 of more than 8 bits a channel")
    planes = picture.planes
    planes = np.ascontiguousarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
    data: bytes = codecs.jpeg2k_encode(planes, codecformat="j2k" if bare else "jp2", reversible=True)
    return data


def _deep(source: ByteSource) -> tuple[Header, int] | None:
    """Header and samples per pixel of a picture that Pillow would truncate to 8 bits; None for all others."""
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
    alpha = samples in (2, 4)  # the last sample is then transparency, as Pillow and browsers assume
    dtype, channels = np.dtype(np.int16 if depth & 0x80 else np.uint16), samples - alpha
    return Header(bottom - top, right - left, channels, dtype, "JPEG2000", mode_of(channels, dtype, alpha)), samples
