"""Large pictures by pyvips (extra `large`): regions of files, PNG and JPEG from raw pixels."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.errors import CycleganError
from cyclegan.images.formats import installed, pillow, png
from cyclegan.images.formats.colour import to_srgb
from cyclegan.images.formats.metadata import exif_and_xmp, resolution
from cyclegan.images.formats.sources import ByteSource, in_memory, opened
from cyclegan.images.picture import Header, ImageMetadata, Part, Parts, separated

# Modes for which libvips gives the same pixels as the reader of whole pictures
_MODES = ("L", "LA", "RGB", "RGBA", "P", "I;16", "LA;16", "RGB;16", "RGBA;16")
_TYPES = {"uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16)}
_START = 2  # bytes of a JPEG before its segments
_FOR_APPLICATIONS = range(0xE0, 0xF0)


def library() -> Any:
    """Import pyvips, without warnings and without its cache of open files."""
    os.environ.setdefault("VIPS_WARNING", "0")  # warnings of damage; unusable files raise
    import pyvips

    # Its operation cache keeps the last hundred files open, which occupy the disk even after they are deleted
    pyvips.cache_set_max(0)
    return pyvips


def parts(source: ByteSource, header: Header, max_pixels: int | None) -> Parts | None:
    """Metadata of a picture and a reader of its regions; None if it can only be decoded whole."""
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
        return None  # not supported by this libvips, or damaged, which the reader of whole pictures reports
    dtype = _TYPES.get(image.format)
    if dtype != header.dtype or image.bands not in (header.channels, header.channels + 1):
        return None
    profile = beside.info.get("icc_profile") or b""
    space = "L" if header.channels == 1 else "RGB"
    if profile:
        to_srgb(np.zeros((1, 1, header.channels), header.dtype), profile, space, notes)  # for its notes
    region = library().Region.new(image)

    def read(top: int, left: int, height: int, width: int) -> Part:
        stored = np.frombuffer(region.fetch(left, top, width, height), header.dtype).reshape(height, width, -1)
        pixels, alpha = separated(stored, header.channels)
        return to_srgb(pixels, profile, space, []) if profile else pixels, alpha

    dpi = resolution(beside.info, 1)
    return ImageMetadata(source.format, header.mode, exif, xmp, bool(profile), dpi, notes=tuple(notes)), read


def write(bare: np.memmap, path: Path, model: bytes, **options: Any) -> None:
    """Encode raw pixels, H×W×S of uint8 or uint16, row by row to `path` in the format of `model`.

    The metadata is that of `model`, the file of one pixel, because libvips changes EXIF. `options` are those of
    libvips. `CycleganError` if the format or the disk cannot hold the picture.
    """
    height, width, samples = bare.shape
    sample = in_memory(model, path)
    kind = next(name for name, known in _TYPES.items() if known == bare.dtype)
    image = library().Image.rawload(str(bare.filename), width, height, samples, format=kind, access="sequential")
    space = ("grey16" if samples < 3 else "rgb16") if bare.dtype == np.uint16 else ("b-w" if samples < 3 else "srgb")
    silent = path.with_name(path.name + ".silent")
    try:
        save = getattr(image.copy(interpretation=space), f"{sample.format.lower()}save")
        save(os.fspath(silent), keep="none", **options)
        with opened(silent) as source, open(path, "wb") as target:
            start, end = _DESCRIBED[sample.format](source)
            source.stream.seek(0)
            target.write(source.stream.read(start) + model[slice(*_DESCRIBED[sample.format](sample))])
            source.stream.seek(end)
            shutil.copyfileobj(source.stream, target, 2**20)
    except library().Error as error:
        reason = ", ".join(error.detail.splitlines()[:2])
        raise CycleganError(f"{width}×{height} pixels were not written as {sample.format} ({reason})") from error
    finally:
        silent.unlink(missing_ok=True)


def _segments(source: ByteSource) -> tuple[int, int]:
    """Start and end of the application segments of a JPEG, before its pixels."""
    position = _START
    while True:
        source.stream.seek(position)
        first, kind, high, low = source.stream.read(4)
        if first != 0xFF or kind not in _FOR_APPLICATIONS:
            return _START, position
        position += 2 + high * 256 + low


_DESCRIBED = {"PNG": png.described, "JPEG": _segments}
