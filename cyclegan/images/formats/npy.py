"""NumPy files of height × width, or height × width × channels, of any type of a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib import format as npy

from cyclegan.errors import CycleganError
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Effort, Header, ImageMetadata, Parts, Picture

_TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
_LEAST_PLANES = 16  # 1, 3 or 4 rows with a last axis above this mean that the channels come first
_BASES = {(1, "uint8"): "L", (3, "uint8"): "RGB", (1, "uint16"): "I;16", (1, "int32"): "I", (1, "float32"): "F"}
_DEPTHS = {"uint8": "", "bool": ";1", "uint16": ";16", "int16": ";16S", "float32": ";32F", "float64": ";64F"}


@dataclass(frozen=True)
class _Layout:
    """Layout of the array in the file."""

    shape: tuple[int, ...]
    fortran: bool  # True for column-major order
    dtype: np.dtype  # as stored, of either byte order
    start: int  # of the data in the file, in bytes

    @property
    def header(self) -> Header:
        height, width, channels = (*self.shape, 1)[:3]
        native = self.dtype.newbyteorder("=")
        return Header(height, width, channels, native, "NPY", mode_of(channels, native))

    @property
    def details(self) -> ImageMetadata:
        container = {"rank": len(self.shape), "fortran": self.fortran}
        return ImageMetadata("NPY", self.header.mode, container=container)


def mode_of(channels: int, dtype: np.dtype, alpha: bool = False) -> str:
    """Mode name for a channel count and type, Pillow's if it has one: "L", "RGB;16", "5;32F"."""
    name = "" if alpha else _BASES.get((channels, dtype.name), "")
    base = {1: "L", 3: "RGB"}.get(channels, str(channels)) + ("A" if alpha else "")
    return name or base + _DEPTHS.get(dtype.name, f";{dtype.name}")


def _layout(source: ByteSource) -> _Layout:
    """Layout from a file's header alone; `ValueError` with a readable reason if it is not a picture."""
    source.stream.seek(0)
    version = npy.read_magic(source.stream)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"an array file of version {version[0]}.{version[1]}; save it by numpy.save")
    shape, fortran, dtype = read_header(source.stream)
    if dtype.name not in _TYPES:
        raise ValueError(f"an array of {dtype.name}; save it as uint8, uint16, int16 or float32")
    sides = "×".join(map(str, shape))
    if len(shape) not in (2, 3):
        raise ValueError(
            f"an array of {len(shape)} dimensions, {sides}; save each picture as height × width, "
            "or height × width × channels"
        )
    if 0 in shape:
        raise ValueError(f"an array of {sides}, which has no pixels")
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] > _LEAST_PLANES:
        raise ValueError(f"an array of {sides}, channels first; save it as height × width × channels")
    found = _Layout(shape, fortran, dtype, source.stream.tell())
    if found.start + int(np.prod(shape, dtype=object)) * dtype.itemsize > source.size:
        raise ValueError("file is truncated")
    return found


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    return _layout(source).header


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file; objects are never unpickled."""
    found = _layout(source)
    source.check_size(found.header.height, found.header.width, 1, max_pixels)
    count = int(np.prod(found.shape))
    data = source.stream.read(count * found.dtype.itemsize)
    pixels = np.frombuffer(data, found.dtype, count).reshape(found.shape, order="F" if found.fortran else "C")
    pixels = pixels.reshape(*found.shape[:2], -1)
    return Picture(np.array(pixels, found.dtype.newbyteorder("="), order="C"), None, found.details)


def parts(source: ByteSource) -> Parts:
    """Metadata of a picture and a memory-mapped reader of its regions."""
    found = _layout(source)
    height, width, channels = (*found.shape, 1)[:3]
    order: Literal["C", "F"] = "F" if found.fortran else "C"
    return found.details, source.raw_regions(found.dtype, found.start, (height, width, channels), order)


def encoded(picture: Picture, _: Effort) -> bytes:
    """Encode a file: alpha becomes one more channel, and grey is 2-D if its source was."""
    if picture.pages:
        raise CycleganError(f"an array file holds one page, not {1 + len(picture.pages)}; write it as .tif")
    pixels = picture.planes
    if pixels.shape[2] == 1 and picture.details.container.get("rank") == 2:
        pixels = pixels[:, :, 0]
    if picture.details.container.get("fortran"):
        pixels = np.asfortranarray(pixels)
    buffer = io.BytesIO()
    npy.write_array(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()
