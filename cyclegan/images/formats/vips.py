"""Parts of compressed pictures by pyvips (extra `large`), and large JPEGs from files of bare pixels."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cyclegan.images.formats import installed, pillow, png
from cyclegan.images.formats.colour import to_srgb
from cyclegan.images.formats.metadata import exif_and_xmp, resolution
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata

# Kinds that come out of libvips as out of the reader of the whole
_MODES = ("L", "LA", "RGB", "RGBA", "P", "I;16", "LA;16", "RGB;16", "RGBA;16")
_TYPES = {"uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16)}
_START = b"\xff\xd8"
_FOR_APPLICATIONS = range(0xE0, 0xF0)

Part = tuple[np.ndarray, np.ndarray | None]


def library() -> Any:
    """pyvips, imported; it prints nothing of its own."""
    os.environ.setdefault("VIPS_WARNING", "0")  # warnings of damage; what is too damaged to use, raises
    import pyvips

    return pyvips


def parts(
    source: ByteSource, header: Header, max_pixels: int | None
) -> tuple[ImageMetadata, Callable[..., Part]] | None:
    """What goes over of a picture, and a reader of its parts; None where it can only be decoded whole."""
    if header.mode not in _MODES or not installed("pyvips"):
        return None
    notes: list[str] = []
    beside = png.beside_pixels(source) if source.format == "PNG" else pillow.open_image(source)
    exif, xmp, orientation = exif_and_xmp(beside.info, notes)
    if orientation != 1:
        return None
    source.check_size(header.height, header.width, 1, max_pixels)
    try:
        image = library().Image.new_from_file(os.fspath(source.path), access="random", fail_on="truncated")
    except library().Error:
        return None  # a format that this libvips was built without, or damage, of which the reader of the whole speaks
    dtype = _TYPES.get(image.format)
    if dtype != header.dtype or image.bands not in (header.channels, header.channels + 1):
        return None
    profile = beside.info.get("icc_profile") or b""
    space = "L" if header.channels == 1 else "RGB"
    if profile:
        to_srgb(np.zeros((1, 1, header.channels), header.dtype), profile, space, notes)  # for what it says of it
    region = library().Region.new(image)

    def read(top: int, left: int, height: int, width: int) -> Part:
        stored = np.frombuffer(region.fetch(left, top, width, height), header.dtype).reshape(height, width, -1)
        pixels = np.ascontiguousarray(stored[:, :, : header.channels])
        alpha = np.ascontiguousarray(stored[:, :, -1]) if image.bands > header.channels else None
        return to_srgb(pixels, profile, space, []) if profile else pixels, alpha

    dpi = resolution(beside.info, 1)
    return ImageMetadata(source.format, header.mode, exif, xmp, bool(profile), dpi, notes=tuple(notes)), read


def write_jpeg(lossless: Path, path: Path, model: bytes, quality: int) -> None:
    """Write the picture in a file that libvips reads row by row to `path`.

    What is said beside the pixels is that of `model`, a JPEG of one pixel: libvips has its own mind of EXIF. Raises
    `pyvips.Error`.
    """
    vips = library()
    image = vips.Image.new_from_file(os.fspath(lossless), access="sequential", fail_on="truncated")
    silent = path.with_name(path.name + ".jpg")
    try:
        image.jpegsave(os.fspath(silent), Q=quality, subsample_mode="off", keep="none")
        with open(silent, "rb") as source, open(path, "wb") as target:
            target.write(_START + model[len(_START) : _said(io.BytesIO(model))])
            source.seek(_said(source))
            shutil.copyfileobj(source, target, 2**20)
    finally:
        silent.unlink(missing_ok=True)


def _said(stream: BinaryIO) -> int:
    """Where the segments end that stand between the start of a JPEG and its pixels, and are for applications."""
    position = len(_START)
    while True:
        stream.seek(position)
        first, kind, high, low = stream.read(4)
        if first != 0xFF or kind not in _FOR_APPLICATIONS:
            return position
        position += 2 + high * 256 + low
