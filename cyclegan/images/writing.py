"""Atomic writing of picture files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cyclegan.errors import CycleganError
from cyclegan.images.channels import fit, luma
from cyclegan.images.formats import escaped, format_for, jpeg2000, module_of, pillow, png
from cyclegan.images.formats.colour import srgb_profile
from cyclegan.images.formats.sources import in_memory
from cyclegan.images.picture import Effort, Picture
from cyclegan.system.files import atomic_write

_MOST_DPI = 5e7  # limit of PNG, which stores pixels per metre in 31 bits
PNG_LEVEL = 1  # five times as fast as the usual 6, files a sixth larger
_MODES = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}  # Pillow's names


def write_picture(
    path: str | os.PathLike[str], picture: Picture, *, quality: int = 95, png_level: int = PNG_LEVEL
) -> None:
    """Write a picture in the format of the suffix of `path`. See `encode_picture`.

    Missing parent folders are made. The write is atomic. Raises `UsageError` for an unknown suffix, `CycleganError` if
    the format cannot hold the picture, `OSError` if the disk cannot.
    """
    path = Path(path)
    try:
        data = encode_picture(picture, path.suffix, quality=quality, png_level=png_level)
    except CycleganError as error:
        raise type(error)(f"cannot write {escaped(str(path))}: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)


def write_image(
    path: str | os.PathLike[str], array: np.ndarray, *, quality: int = 95, png_level: int = PNG_LEVEL
) -> None:
    """Write a uint8 array (HWC with 1 or 3 channels, or HW) in the format of the suffix of `path`.

    See `write_picture`.
    """
    write_picture(path, _of_array(array), quality=quality, png_level=png_level)


def encode_image(array: np.ndarray, suffix: str, *, quality: int = 95, png_level: int = PNG_LEVEL) -> bytes:
    """Encode a uint8 array (HWC with 1 or 3 channels, or HW) as a picture file. See `encode_picture`."""
    return encode_picture(_of_array(array), suffix, quality=quality, png_level=png_level)


def encode_picture(picture: Picture, suffix: str, *, quality: int = 95, png_level: int = PNG_LEVEL) -> bytes:
    """Encode a picture in the format of a suffix, with all metadata that the format can hold.

    `quality` (1 to 100) affects JPEG, WebP, AVIF and JPEG in TIFF only, `png_level` (0, not compressed, to 9, slowest)
    PNG only. For formats without them, 16 bits are scaled to 8 and transparency is composited over white; GIF has 256
    colours. Raises `CycleganError` for what a format cannot hold, `UsageError` for an unknown suffix, `MissingExtra`
    for a missing library.
    """
    assert 0 <= png_level <= 9, f"PNG has levels 0 to 9, not {png_level}"
    assert 1 <= quality <= 100, f"quality goes from 1 to 100, not {quality}"
    name, suffix = format_for(suffix), suffix.lower()
    if suffix == ".pgm" and picture.channels == 3:
        picture = _grey(picture)
    encode = _BY_PILLOW.get(name) or module_of(name).encoded
    data: bytes = encode(fit(picture, name), Effort(quality, png_level, suffix))
    return data


def _of_array(array: np.ndarray) -> Picture:
    assert array.dtype == np.uint8, f"pictures are written from uint8, not {array.dtype}"
    assert array.ndim in (2, 3), f"expected HWC or HW, not {array.shape}"
    assert array.ndim == 2 or array.shape[2] in (1, 3), f"expected 1 or 3 channels, not {array.shape}"
    return Picture(array.reshape(*array.shape[:2], -1))


def _grey(picture: Picture) -> Picture:
    return Picture(luma(picture.pixels), picture.alpha, picture.details, tuple(map(_grey, picture.pages)))


def _image(picture: Picture) -> Image.Image:
    """Pillow image of an 8-bit picture with one or three channels."""
    mode = _MODES[picture.channels, picture.alpha is not None]
    data = np.ascontiguousarray(picture.planes).tobytes()
    return Image.frombuffer(mode, (picture.width, picture.height), data, "raw", mode, 0, 1)


def _by_pillow(name: str, picture: Picture, **options: Any) -> bytes:
    """Encode an 8-bit picture; options that are None or empty are left out."""
    image = _image(picture)
    try:
        return pillow.encoded(image, name, **{key: kept for key, kept in options.items() if kept not in (None, b"")})
    except (OSError, ValueError) as error:  # no disk involved, so a limit of the format: WebP ends at 16383 pixels
        raise CycleganError(f"{name} cannot hold {image.width}×{image.height} pixels ({error})") from error


def _described(picture: Picture) -> dict[str, Any]:
    """Metadata as options of Pillow's writers."""
    details = picture.details
    icc = srgb_profile() if details.tagged and picture.channels == 3 else b""
    return {"exif": details.exif, "xmp": details.xmp, "icc_profile": icc}


def _jpeg(picture: Picture, effort: Effort) -> bytes:
    # Colour at full resolution: chroma subsampling would blur the fine coloured texture that a translation creates
    dpi = picture.details.dpi and tuple(round(value) for value in picture.details.dpi)
    return _by_pillow("JPEG", picture, quality=effort.quality, subsampling="4:4:4", dpi=dpi, **_described(picture))


def _png(picture: Picture, effort: Effort) -> bytes:
    if picture.pixels.dtype == np.uint16:
        # The metadata chunks are those that Pillow writes for one 8-bit pixel
        pixel = replace(picture, pixels=np.zeros((1, 1, picture.channels), np.uint8), alpha=None)
        model = _png(pixel, effort)
        return png.deep(picture, effort.png_level, model[slice(*png.described(in_memory(model, "")))])
    details, info = picture.details, PngInfo()
    if details.xmp:
        info.add_itxt("XML:com.adobe.xmp", details.xmp)
    dpi = details.dpi and tuple(min(value, _MOST_DPI) for value in details.dpi)
    return _by_pillow("PNG", picture, compress_level=effort.png_level, pnginfo=info, dpi=dpi, **_described(picture))


def _jpeg2000(picture: Picture, effort: Effort) -> bytes:
    bare = effort.suffix == ".j2k"
    if picture.pixels.dtype == np.uint16:
        return jpeg2000.encoded(picture, bare)
    return pillow.encoded(_image(picture), "JPEG2000", no_jp2=bare)


def _webp(picture: Picture, effort: Effort) -> bytes:
    return _by_pillow("WEBP", picture, quality=effort.quality, **_described(picture))


def _avif(picture: Picture, effort: Effort) -> bytes:
    return _by_pillow("AVIF", picture, quality=effort.quality, subsampling="4:4:4", **_described(picture))


# Encoders of pictures that their format holds; those of the other formats are in their modules
_BY_PILLOW: dict[str, Callable[[Picture, Effort], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "AVIF": _avif,
    "JPEG2000": _jpeg2000,
    "BMP": lambda picture, _: _by_pillow("BMP", picture, dpi=picture.details.dpi),
    "GIF": lambda picture, _: _by_pillow("GIF", picture),
}
