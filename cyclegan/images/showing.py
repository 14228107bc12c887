"""What a network is shown of stored pixels, the same in training and in translating."""

from __future__ import annotations

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's grey


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """H×W×C pixels with the channels that a network takes: grey becomes equal red, green and blue, colour its luma.

    Raises `ValueError`, in words, for what has neither the right number nor a meaning as grey or colour.
    """
    have = pixels.shape[2]
    if have == channels:
        return pixels
    if have == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if have == 3 and channels == 1:
        luma = pixels @ _LUMA
        return (np.rint(luma) if pixels.dtype.kind in "iu" else luma).astype(pixels.dtype)[:, :, None]
    raise ValueError(f"it has {have} channels and the model takes {channels}")


def hiding(pixels: np.ndarray, alpha: np.ndarray | None, white: float) -> np.ndarray:
    """Pixels in which what is wholly transparent is white, so that no colour hidden there reaches a network."""
    if alpha is None or alpha.all():
        return pixels
    shown = pixels.copy()
    shown[alpha == 0] = white
    return shown
