"""Colour profiles: conversion to sRGB, and the sRGB profile that is written."""

from __future__ import annotations

import io
from functools import cache, lru_cache
from typing import Any

import numpy as np
from PIL import Image

from cyclegan.images.formats import required

# Colour space field of a profile (ICC.1, 7.2.6), by Pillow's mode
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
_CREATED = slice(24, 36)  # of the header: year, month, day, hour, minute, second
_TOLERANCE = 1  # grey levels; sRGB profiles of different makers differ by as much in any colour
_GRID = 17
_EXACT = 0x0100  # Little CMS flag: formulas instead of tables, which are off by up to 2.5 % in 16 bits
_ROWS = 512  # converted at a time: the library needs its own copy


@cache
def srgb_profile() -> bytes:
    """The sRGB profile to write, always the same bytes: the library would insert the current date."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_CREATED] = np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes()
    return bytes(made)


def to_srgb(pixels: np.ndarray, profile: bytes, space: str, notes: list[str]) -> np.ndarray:
    """Convert pixels H×W×C of a picture with a colour profile to sRGB.

    `space` is "L", "RGB" or "CMYK" (uint8 only; the result has 3 channels). uint8 and uint16 are converted; other types
    are measurements rather than colours and stay unchanged. A damaged or unsuitable profile only adds a note. Pixels
    already in sRGB are returned unchanged. `MissingExtra` where 16 bits need a library.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        notes.append(f"its colour profile was left out, because its numbers are {pixels.dtype}")
        return pixels
    try:
        transform = _transform(profile, space)
    except ValueError as error:
        notes.append(f"its colour profile {error} and was left out")
        return pixels
    return pixels if transform is None else _converted(pixels, profile, transform, space)


def is_damaged(profile: bytes, space: str) -> bool:
    """True if the profile cannot be used for conversion."""
    try:
        _transform(profile, space)
    except ValueError:
        return True
    return False


def _converted(pixels: np.ndarray, profile: bytes, transform: Any, space: str) -> np.ndarray:
    """Pixels H×W×C, uint8 or uint16, in sRGB."""

    def convert(part: np.ndarray) -> np.ndarray:
        return _bytes(part, transform, space) if part.dtype == np.uint8 else _deep(part, profile, space)

    if space == "L":
        # Grey by a lookup table: each value is converted once, however many pixels there are
        numbers = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)
        grey: np.ndarray = convert(numbers.reshape(-1, 256, 1))[:, :, 1].reshape(-1)[pixels]
        return grey
    made = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for top in range(0, len(pixels), _ROWS):
        made[top : top + _ROWS] = convert(pixels[top : top + _ROWS])
    return made


def _bytes(pixels: np.ndarray, transform: Any, space: str) -> np.ndarray:
    from PIL import ImageCms

    height, width = pixels.shape[:2]
    image = Image.frombytes(space, (width, height), np.ascontiguousarray(pixels).tobytes())
    return np.array(ImageCms.applyTransform(image, transform))


def _deep(pixels: np.ndarray, profile: bytes, space: str) -> np.ndarray:
    codecs = required("imagecodecs", "a 16-bit picture with a colour profile")
    made: np.ndarray = codecs.cms_transform(
        np.ascontiguousarray(pixels[:, :, 0] if space == "L" else pixels),
        profile,
        srgb_profile(),
        colorspace="gray" if space == "L" else "rgb",
        outcolorspace="rgb",
        outdtype="u2",
        flags=_EXACT,
    )
    return made


@lru_cache(maxsize=16)
def _transform(profile: bytes, space: str) -> Any:
    """The library's conversion of 8 bits from a profile to sRGB, None from sRGB itself.

    `ValueError` with a readable reason if there is none.
    """
    from PIL import ImageCms

    if profile[16:20] != _SPACES[space]:
        raise ValueError("is for other colours than the picture has" if profile[36:40] == b"acsp" else "is damaged")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
        transform = ImageCms.buildTransform(source, target, space, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError("is damaged") from error
    if space == "CMYK":
        return transform
    if space == "L":
        colours = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    else:
        steps = np.linspace(0, 255, _GRID).astype(np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    difference = _converted(colours, profile, transform, space).astype(int) - colours
    return None if np.abs(difference).max() <= _TOLERANCE else transform
