"""Arrays to picture files, whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cyclegan.errors import CycleganError, UsageError
from cyclegan.files import atomic_write
from cyclegan.images.decode import EXTENSIONS, FORMATS, printable
from cyclegan.images.picture import Picture

_FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
# How each format is written. JPEG: colour at full resolution, because halving it smears the thin coloured texture
# that a translation is about.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": 0},
    "TIFF": {"compression": "tiff_lzw"},
}
_LOSSY = ("JPEG", "WEBP")
PNG_LEVEL = 1  # five times faster than the usual 6 for a sixth more bytes


def write_image(
    path: str | os.PathLike[str], array: np.ndarray, *, quality: int = 95, png_level: int = PNG_LEVEL
) -> None:
    """Write a uint8 picture (HWC with 1 or 3 channels, or HW) in the format of the suffix of `path`.

    Missing parent folders are made. The file appears whole or not at all. Raises `UsageError` for a suffix we
    do not write, `CycleganError` where the format cannot hold the picture, `OSError` where the disk cannot.
    """
    path = Path(path)
    try:
        data = encode_image(array, path.suffix, quality=quality, png_level=png_level)
    except CycleganError as error:
        raise type(error)(f"cannot write {printable(str(path))}: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)


def encode_picture(picture: Picture, suffix: str, *, quality: int = 95, png_level: int = PNG_LEVEL) -> bytes:
    """The bytes of a file. PROVISIONAL: 8-bit pixels alone, until the writer of all kinds stands."""
    return encode_image(picture.pixels, suffix, quality=quality, png_level=png_level)


def encode_image(array: np.ndarray, suffix: str, *, quality: int = 95, png_level: int = PNG_LEVEL) -> bytes:
    """The bytes of a picture file. See `write_image`.

    `quality` (1 to 100) matters to JPEG and WebP only, `png_level` (0, not compressed, to 9, slowest) to PNG only.
    """
    assert 0 <= png_level <= 9, f"PNG has levels 0 to 9, not {png_level}"
    assert array.dtype == np.uint8, f"pictures are written from uint8, not {array.dtype}"
    grey = array.ndim == 2 or array.shape[2] == 1
    assert array.ndim in (2, 3), f"expected HWC or HW, not {array.shape}"
    assert grey or array.shape[2] == 3, f"expected 1 or 3 channels, not {array.shape}"
    name = _FORMAT_OF.get(suffix.lower())
    if name is None:
        raise UsageError(f"no format is known for the suffix {suffix!r}; use one of {' '.join(EXTENSIONS)}")
    image = Image.fromarray(np.ascontiguousarray(array.reshape(array.shape[:2]) if grey else array))
    chosen = {"PNG": {"compress_level": png_level}} | {lossy: {"quality": quality} for lossy in _LOSSY}
    options = _OPTIONS.get(name, {}) | chosen.get(name, {})
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=name, **options)
    except (OSError, ValueError) as error:  # no disk here, so it is the format: WebP ends at 16383 pixels
        raise CycleganError(f"{name} cannot hold {image.width}×{image.height} pixels ({error})") from error
    return buffer.getvalue()
