"""Arrays in NumPy's own files: height × width, or height × width × channels, of any type that a picture may have."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib import format as npy

from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture

_TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
_LEAST_PLANES = 16  # more numbers a pixel than this behind 1, 3 or 4 rows are columns: the channels come first
_BASES = {(1, "uint8"): "L", (3, "uint8"): "RGB", (1, "uint16"): "I;16", (1, "int32"): "I", (1, "float32"): "F"}
_DEPTHS = {"uint8": "", "bool": ";1", "uint16": ";16", "int16": ";16S", "float32": ";32F", "float64": ";64F"}


@dataclass(frozen=True)
class NpyLayout:
    """How the numbers stand in the file."""

    shape: tuple[int, ...]
    fortran: bool  # whether columns, not rows, are stored together
    dtype: np.dtype  # as stored, of either byte order
    start: int  # of the numbers in the file, in bytes

    @property
    def header(self) -> Header:
        """What is to be expected of it."""
        height, width, channels = (*self.shape, 1)[:3]
        native = self.dtype.newbyteorder("=")
        return Header(height, width, channels, native, "NPY", mode_of(channels, native))

    @property
    def details(self) -> ImageMetadata:
        """What goes over to the translation."""
        container = {"rank": len(self.shape), "fortran": self.fortran}
        return ImageMetadata("NPY", self.header.mode, container=container)


def mode_of(channels: int, dtype: np.dtype, alpha: bool = False) -> str:
    """A name for pictures of so many channels and of a type, Pillow's where it has one: "L", "RGB;16", "5;32F"."""
    name = "" if alpha else _BASES.get((channels, dtype.name), "")
    base = {1: "L", 3: "RGB"}.get(channels, str(channels)) + ("A" if alpha else "")
    return name or base + _DEPTHS.get(dtype.name, f";{dtype.name}")


def layout(source: ByteSource) -> NpyLayout:
    """What the beginning of a file says, nothing after it read; `ValueError`, in words, for what is no picture."""
    source.stream.seek(0)
    version = npy.read_magic(source.stream)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"an array file of version {version[0]}.{version[1]}; save it by numpy.save")
    shape, fortran, dtype = read_header(source.stream)
    if dtype.name not in _TYPES:
        raise ValueError(f"an array of {dtype.name}; save it as uint8, uint16, int16 or float32")
    if len(shape) not in (2, 3):
        raise ValueError(
            f"an array of {len(shape)} dimensions, {_times(shape)}; save each picture as height × width, "
            "or height × width × channels"
        )
    if 0 in shape:
        raise ValueError(f"an array of {_times(shape)}, which has no pixels")
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] > _LEAST_PLANES:
        raise ValueError(
            f"an array of {'×'.join(map(str, shape))}, channels first; save it as height × width × channels"
        )
    found = NpyLayout(shape, fortran, dtype, source.stream.tell())
    if found.start + int(np.prod(shape, dtype=object)) * dtype.itemsize > source.size:
        raise ValueError("file is truncated")
    return found


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def header(source: ByteSource) -> Header:
    """What a file says of its picture."""
    return layout(source).header


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """The picture in a file; no object in it is unpickled."""
    found = layout(source)
    source.check_size(found.header.height, found.header.width, 1, max_pixels)
    count = int(np.prod(found.shape))
    data = source.stream.read(count * found.dtype.itemsize)
    pixels = np.frombuffer(data, found.dtype, count).reshape(found.shape, order="F" if found.fortran else "C")
    pixels = pixels.reshape(*found.shape[:2], -1)
    return Picture(np.array(pixels, found.dtype.newbyteorder("="), order="C"), None, found.details)


def parts(source: ByteSource) -> tuple[ImageMetadata, Callable[..., tuple[np.ndarray, None]]]:
    """What goes over of a picture, and a reader of its parts where they lie in the file."""
    found = layout(source)
    order: Literal["C", "F"] = "F" if found.fortran else "C"
    shape = (*found.shape, 1)[:3]

    def read(top: int, left: int, height: int, width: int) -> tuple[np.ndarray, None]:
        # A map of its own for each part: what was read through one stays in memory as long as that does
        mapped = np.memmap(source.stream, found.dtype, "r", found.start, shape, order)
        part = mapped[top : top + height, left : left + width]
        return np.array(part, found.dtype.newbyteorder("="), order="C", subok=False), None

    return found.details, read


def encoded(picture: Picture) -> bytes:
    """The bytes of a file: the numbers as they are, transparency as one more channel, grey flat if its source was."""
    pixels = picture.pixels
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha[:, :, None]], axis=2)
    if pixels.shape[2] == 1 and picture.details.container.get("rank") == 2:
        pixels = pixels[:, :, 0]
    if picture.details.container.get("fortran"):
        pixels = np.asfortranarray(pixels)
    buffer = io.BytesIO()
    npy.write_array(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()
