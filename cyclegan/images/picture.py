"""What a picture is everywhere in this package: numbers as they were stored, upright, and what its file said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says of its picture beside the pixels; all of it goes over to the translation."""

    format: str = "PNG"  # a key of FORMATS
    mode: str = "RGB"  # how it was stored, in Pillow's words where Pillow has one: "L", "RGB", "I;16", "CMYK", "RGB;16"
    exif: bytes = b""  # as Pillow's Exif.tobytes() gives it, the orientation reset
    xmp: bytes = b""
    tagged: bool = False  # whether the file had a colour profile; the translation then says that it is sRGB
    dpi: tuple[float, float] | None = None
    container: Mapping[str, Any] = field(default_factory=dict)  # what only its own format understands: compression, …
    notes: tuple[str, ...] = ()  # what was left out of it, in words: "the first of 12 frames"


@dataclass(frozen=True)
class Picture:
    """A picture of any depth and number of channels.

    `pixels` is height × width × channels in the type it was stored in (uint8, uint16, int16, float32, …), colours in
    sRGB, upright; 1 channel is grey, 3 are red, green and blue. `alpha`, height × width of the same type, is 0 where
    nothing is to be seen. `pages` are those that follow in a document of several, each like this one.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    details: ImageMetadata = field(default_factory=ImageMetadata)
    pages: tuple[Picture, ...] = ()

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """How many numbers a pixel has, without its transparency."""
        return int(self.pixels.shape[2])

    @property
    def kind(self) -> tuple[tuple[int, ...], np.dtype]:
        """What pictures must have in common to be computed together."""
        return self.pixels.shape, self.pixels.dtype


@dataclass(frozen=True)
class Header:
    """What can be known of a picture without decoding it; height and width are those it has upright."""

    height: int
    width: int
    channels: int  # without transparency
    dtype: np.dtype
    format: str
    mode: str
    pages: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes that its pixels take decoded, transparency not counted."""
        return self.height * self.width * self.channels * self.dtype.itemsize * self.pages
