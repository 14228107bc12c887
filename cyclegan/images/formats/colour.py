"""Colour profiles: conversion to sRGB, and the sRGB profile that is written."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from PIL import Image

from cyclegan.images.formats import required

# Colour space field of a profile (ICC.1, 7.2.6), by Pillow's mode
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
_CREATED = slice(24, 36)  # of the header: year, month, day, hour, minute, second
_TOLERANCE = 1  # grey levels; sRGB profiles of different makers differ by as much
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
        conversion = _conversion(profile, space)
    except ValueError as error:
        notes.append(f"its colour profile {error} and was left out")
        return pixels
    return conversion.apply(pixels)


def is_damaged(profile: bytes, space: str) -> bool:
    """True if the profile cannot be used for conversion."""
    try:
        _conversion(profile, space)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class _Conversion:
    """Conversion from one profile to sRGB."""

    profile: bytes
    transform: Any  # of the library, for 8 bits; None if the profile is sRGB
    space: str

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels H×W×C, uint8 or uint16, in sRGB."""
        if self.transform is None:
            return pixels
        convert = self._bytes if pixels.dtype == np.uint8 else self._deep
        if self.space == "L":
            # Grey by a lookup table: each value is converted once, however many pixels there are
            numbers = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype)
            table = convert(numbers.reshape(-1, 256, 1))[:, :, 1].reshape(-1)
            result: np.ndarray = table[pixels]
            return result
        return _by_rows(convert, pixels)

    def _bytes(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import ImageCms

        height, width = pixels.shape[:2]
        image = Image.frombytes(self.space, (width, height), np.ascontiguousarray(pixels).tobytes())
        return np.array(ImageCms.applyTransform(image, self.transform))

    def _deep(self, pixels: np.ndarray) -> np.ndarray:
        codecs = required("imagecodecs", "a 16-bit picture with a colour profile")
        grey = self.space == "L"
        made: np.ndarray = codecs.cms_transform(
            np.ascontiguousarray(pixels[:, :, 0] if grey else pixels),
            self.profile,
            srgb_profile(),
            colorspace="gray" if grey else "rgb",
            outcolorspace="rgb",
            outdtype="u2",
            flags=_EXACT,
        )
        return made


@lru_cache(maxsize=16)
def _conversion(profile: bytes, space: str) -> _Conversion:
    """The conversion from a profile to sRGB; `ValueError` with a readable reason if none."""
    from PIL import ImageCms

    if profile[16:20] != _SPACES[space]:
        raise ValueError("is for other colours than the picture has" if profile[36:40] == b"acsp" else "is damaged")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
        transform = ImageCms.buildTransform(source, target, space, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError("is damaged") from error
    conversion = _Conversion(profile, transform, space)
    return _Conversion(profile, None, space) if _is_srgb(conversion) else conversion


def _is_srgb(conversion: _Conversion) -> bool:
    """True if a conversion changes no colour by more than the tolerance between sRGB profiles."""
    if conversion.space == "CMYK":
        return False
    if conversion.space == "L":
        colours = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    else:
        steps = np.linspace(0, 255, _GRID).astype(np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    difference = conversion.apply(colours).astype(int) - colours
    return bool(np.abs(difference).max() <= _TOLERANCE)


def _by_rows(convert: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    made = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for top in range(0, len(pixels), _ROWS):
        made[top : top + _ROWS] = convert(pixels[top : top + _ROWS])
    return made
