"""Resizing of pictures of any bit depth to a given shorter side (`--size`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from cyclegan.images import Picture

_FAINT = 1e-3  # of full opacity; below it, colours are only rounding errors
_FILTER = Image.Resampling.LANCZOS  # averages over the whole footprint of a pixel, which prevents aliasing


def resized(picture: Picture, size: int) -> Picture:
    """Scale `picture` and its pages to a shorter side of `size` pixels, keeping aspect ratio and type.

    Colours are weighted by opacity, so that colours hidden under transparent pixels do not bleed at their edges.
    """
    pages = tuple(resized(page, size) for page in picture.pages)
    sides = picture.height, picture.width
    height, width = (max(1, round(side * size / min(sides))) for side in sides)
    if (height, width) == sides:
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


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:  # Pillow's own path is much faster
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), _FILTER))
    return _fitted(_channels(pixels, height, width), pixels)


def _channels(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize H×W×C of any type channel by channel; returns float32."""
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, channel].astype(np.float32)).resize((width, height), _FILTER))
        for channel in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2)


def _fitted(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Cast `values` to the type of `original`, clipped to its range, which the filter overshoots."""
    known = original[np.isfinite(original)]
    limited = np.clip(values, known.min(), known.max()) if known.size else values
    return (np.rint(limited) if original.dtype.kind in "iu" else limited).astype(original.dtype)
