"""Conversion of channels, transparency and bit depth, for networks and for file formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from cyclegan.errors import CycleganError
from cyclegan.images.formats import FORMATS
from cyclegan.images.picture import Picture


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Convert H×W×C pixels to `channels`: grey to equal red, green and blue, colour to its luma.

    Raises `ValueError` with a readable reason for all other combinations.
    """
    have = pixels.shape[2]
    if have == channels:
        return pixels
    if have == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if have == 3 and channels == 1:
        return luma(pixels)
    raise ValueError(f"it has {have} channels and the model takes {channels}")


def hiding(pixels: np.ndarray, alpha: np.ndarray | None, white: float) -> np.ndarray:
    """Pixels with fully transparent ones set to white, so that no hidden colour reaches a network."""
    if alpha is None or alpha.all():
        return pixels
    shown = pixels.copy()
    shown[alpha == 0] = white
    return shown


LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow


def fit(picture: Picture, name: str) -> Picture:
    """Convert `picture` to what the format `name` holds, mostly uint8 or uint16, one or three channels, no pages.

    If the format lacks them, 16 bits become 8 and transparency is composited over white. `CycleganError` names what
    else would be lost, and a format that keeps it.
    """
    known = FORMATS[name]
    if known.everything:
        return picture
    if picture.channels not in (1, 3):
        raise CycleganError(f"{name} holds 1 or 3 channels, not {picture.channels}; write it as .tif or .npy")
    if picture.pages:
        raise CycleganError(f"{name} holds one page, not {1 + len(picture.pages)}; write it as .tif")
    dtype = picture.pixels.dtype
    convert = _WHOLE.get(dtype.name)
    if convert is None:
        raise CycleganError(f"{name} holds 8{' or 16' * known.deep} bits, not {dtype}; write it as .tif or .npy")
    if dtype == np.uint16 and not known.deep:
        convert = to_bytes
    pixels, alpha = convert(picture.pixels), None if picture.alpha is None else convert(picture.alpha)
    if alpha is not None and not known.alpha:
        pixels, alpha = over_white(pixels, alpha), None
    return replace(picture, pixels=pixels, alpha=alpha)


def to_bytes(deep: np.ndarray) -> np.ndarray:
    """Integers from 0 to 65535 -> uint8, rounded to nearest: 65535 / 255 is exactly 257."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def truth_to_bytes(truth: np.ndarray) -> np.ndarray:
    """Bool -> uint8, 0 or 255."""
    return truth.astype(np.uint8) * np.uint8(255)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite pixels H×W×C, uint8 or uint16, grey or colour, over white."""
    if pixels.dtype == np.uint8:
        height, width, channels = pixels.shape
        front = Image.fromarray(np.dstack([np.broadcast_to(pixels, (height, width, 3)), alpha]))
        made = Image.alpha_composite(Image.new("RGBA", (width, height), (255, 255, 255, 255)), front).convert("RGB")
        return np.array(np.asarray(made)[:, :, :channels], order="C")
    whole = float(np.iinfo(pixels.dtype).max)
    share = alpha[:, :, None] / whole
    return np.rint(pixels * share + whole * (1 - share)).astype(pixels.dtype)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Luma of H×W×3, as H×W×1 of the same type."""
    grey = pixels @ LUMA
    return (np.rint(grey) if pixels.dtype.kind in "iu" else grey).astype(pixels.dtype)[:, :, None]


_WHOLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uint8": lambda numbers: numbers,
    "uint16": lambda numbers: numbers,
    "bool": truth_to_bytes,
}
