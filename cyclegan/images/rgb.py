"""Pictures of any kind as 8-bit RGB over white, for display, metrics and 8-bit networks."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from cyclegan.images.channels import over_white, to_bytes, truth_to_bytes
from cyclegan.images.formats import UnreadableImage, pillow
from cyclegan.images.picture import Picture
from cyclegan.images.reading import read_header, read_picture


def read_image(path: str | os.PathLike[str], *, at_least: int | None = None) -> np.ndarray:
    """Read a picture as uint8, height × width × 3, RGB, upright, composited over white.

    16-bit values are scaled to 8 bits. See `read_picture`, also for `at_least`. `UnreadableImage` names the fault.
    """
    picture = read_picture(path, at_least=at_least)
    try:
        return as_rgb(picture)
    except ValueError as error:
        raise UnreadableImage(path, str(error)) from error


def stored_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the upright picture in a file, from its header. See `read_header`."""
    header = read_header(path)
    return header.height, header.width


def rgb_array(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 HWC RGB, without rotation or colour profile.

    Transparent pixels become white, so that no hidden colours appear. Raises `ValueError` for a mode without a defined
    white.
    """
    bare = image.copy() if "icc_profile" in image.info else image
    bare.info.pop("icc_profile", None)
    pixels, alpha, _ = pillow.arrays(bare, [])
    return as_rgb(Picture(pixels, alpha))


def as_rgb(picture: Picture) -> np.ndarray:
    """A picture as uint8 HWC RGB, composited over white.

    Raises `ValueError` with a readable reason for values without a defined white, and for other channel counts than
    one or three.
    """
    if picture.channels not in (1, 3):
        raise ValueError(f"a pixel has {picture.channels} numbers, and colours have 1 or 3")
    pixels = _bytes(picture.pixels)
    if picture.channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels if picture.alpha is None else over_white(pixels, _bytes(picture.alpha))


def _bytes(numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype.kind == "b":
        return truth_to_bytes(numbers)
    if numbers.dtype.kind == "f":
        low, high = float(numbers.min()), float(numbers.max())
        if not (low >= 0 and high <= 255):  # also when either is NaN
            raise ValueError("floating-point grey with values outside 0 to 255; save it with 8 or 16 bits")
        return np.rint(numbers * (255 if high <= 1 else 1)).astype(np.uint8)
    if numbers.dtype == np.uint8:
        return numbers
    if numbers.dtype != np.uint16 and (numbers.min() < 0 or numbers.max() > 65535):
        raise ValueError("32-bit grey with values outside 0 to 65535; save it with 8 or 16 bits")
    return to_bytes(numbers)
