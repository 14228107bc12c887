"""The picture type of the package: stored values, upright, with the metadata of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of a picture file, copied to its translation."""

    format: str = "PNG"  # a key of FORMATS
    mode: str = "RGB"  # storage mode, by Pillow's name if it has one: "L", "RGB", "I;16", "CMYK", "RGB;16"
    exif: bytes = b""  # as from Pillow's Exif.tobytes(), the orientation reset
    xmp: bytes = b""
    tagged: bool = False  # True if the file had a colour profile; the translation is then tagged as sRGB
    dpi: tuple[float, float] | None = None
    container: Mapping[str, Any] = field(default_factory=dict)  # settings of its own format alone: compression, …
    notes: tuple[str, ...] = ()  # readable notes of what was left out: "the first of 12 frames"


@dataclass(frozen=True)
class Picture:
    """A picture of any depth and number of channels.

    `pixels` is height × width × channels in the stored type (uint8, uint16, int16, float32, …), colours in sRGB,
    upright; 1 channel is grey, 3 are red, green and blue. `alpha`, height × width of the same type, is 0 for fully
    transparent. `pages` are the further pages of a document, each of the same kind.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    details: ImageMetadata = field(default_factory=ImageMetadata)
    pages: tuple[Picture, ...] = ()

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Channels without transparency."""
        return int(self.pixels.shape[2])

    @property
    def planes(self) -> np.ndarray:
        """Pixels and transparency together, height × width × samples."""
        return self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])

    @property
    def kind(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type, which pictures of one batch have in common."""
        return self.pixels.shape, self.pixels.dtype


# Pixels, height × width × channels, and transparency, height × width
Part = tuple[np.ndarray, np.ndarray | None]
# Metadata of a picture, and a reader of its regions: top, left, height, width
Parts = tuple[ImageMetadata, Callable[[int, int, int, int], Part]]


def separated(planes: np.ndarray, channels: int) -> Part:
    """The first `channels` samples of H×W×S, and the last as transparency if there are more."""
    alpha = np.ascontiguousarray(planes[:, :, -1]) if planes.shape[2] > channels else None
    return np.ascontiguousarray(planes[:, :, :channels]), alpha


@dataclass(frozen=True)
class Header:
    """Properties of a picture known without decoding; height and width are those of the upright picture."""

    height: int
    width: int
    channels: int  # without transparency
    dtype: np.dtype
    format: str
    mode: str
    pages: int = 1

    @property
    def nbytes(self) -> int:
        """Size of the decoded pixels, without transparency."""
        return self.height * self.width * self.channels * self.dtype.itemsize * self.pages


class Effort(NamedTuple):
    """Compression settings."""

    quality: int  # 1 to 100, for lossy formats
    png_level: int  # 0, not compressed, to 9, slowest
    suffix: str  # lower case; some select a variant of the format
