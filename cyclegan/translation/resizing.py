"""Pictures of any depth scaled so that their shorter side has a given length (`--size`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from cyclegan.images import Picture

_FAINT = 1e-3  # of full opacity; below, what is left of the colours is rounding
_FILTER = Image.Resampling.LANCZOS  # averages over all that becomes one pixel, so that nothing flickers


def resized(picture: Picture, size: int) -> Picture:
    """`picture`, and each of its pages, with a shorter side of `size` pixels and the same proportions and type.

    Colours are weighed by their opacity, so that what is hidden under transparent pixels does not show at their edges.
    """
    pages = tuple(resized(page, size) for page in picture.pages)
    height, width = _scaled(picture.height, picture.width, size)
    if (height, width) == (picture.height, picture.width):
        return replace(picture, pages=pages)
    if picture.alpha is None:
        return replace(picture, pixels=_resize(picture.pixels, height, width), pages=pages)
    opacity = picture.alpha.astype(np.float64)[:, :, None]
    weights = np.maximum(_channels(opacity, height, width), 0)
    weighed = _channels(picture.pixels * opacity, height, width)
    seen = weights > _FAINT * opacity.max()
    visible = np.where(seen, weighed / np.where(seen, weights, 1), _resize(picture.pixels, height, width))
    return replace(
        picture,
        pixels=_fitted(visible, picture.pixels),
        alpha=_fitted(weights, picture.alpha)[:, :, 0],
        pages=pages,
    )


def _scaled(height: int, width: int, size: int) -> tuple[int, int]:
    shorter = min(height, width)
    return max(1, round(height * size / shorter)), max(1, round(width * size / shorter))


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:  # Pillow's own, which is quicker by far
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), _FILTER))
    return _fitted(_channels(pixels, height, width), pixels)


def _channels(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """H×W×C of any type, channel by channel, as float32 of the new size."""
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, channel].astype(np.float32)).resize((width, height), _FILTER))
        for channel in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2)


def _fitted(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """`values` in the type of `original` and between its least and its greatest number, which the filter oversteps."""
    known = original[np.isfinite(original)]
    limited = np.clip(values, known.min(), known.max()) if known.size else values
    return (np.rint(limited) if original.dtype.kind in "iu" else limited).astype(original.dtype)
