"""Writing of pictures band by band from the top, with the whole never in memory."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from cyclegan.errors import UsageError
from cyclegan.images.channels import HOLDS, luma
from cyclegan.images.formats import DEFAULT_MAX_PIXELS, EXTENSIONS, FORMAT_OF, MissingExtra, installed, pnm, vips
from cyclegan.images.formats.tiff.bands import TiffBands
from cyclegan.images.picture import ImageMetadata, Picture
from cyclegan.images.writing import PNG_LEVEL, encode_picture


@dataclass(frozen=True)
class BandPlan:
    """Properties of the picture to be written."""

    path: Path
    suffix: str
    height: int
    width: int
    channels: int
    dtype: np.dtype
    alpha: bool
    details: ImageMetadata
    quality: int
    png_level: int

    def sample(self) -> Picture:
        """One pixel of that kind, to find how a format stores it."""
        pixels = np.zeros((1, 1, self.channels), self.dtype)
        return Picture(pixels, pixels[:, :, 0] if self.alpha else None, self.details)


class BandWriter(ABC):
    """Writer of a picture file from the top; a context manager.

    All rows must be written before its block ends; the file is then complete. If the block ends with an error, the file
    is unusable, and no other file is left behind.
    """

    def __init__(self, plan: BandPlan) -> None:
        self._plan, self._row = plan, 0

    def write(self, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
        """Write the next rows: pixels H×width×C of the announced type, and alpha H×width if announced."""
        plan = self._plan
        assert pixels.shape[1:] == (plan.width, plan.channels), f"{pixels.shape} in a picture {plan.width} wide"
        assert pixels.dtype == plan.dtype, f"{pixels.dtype} in a picture of {plan.dtype}"
        assert (alpha is not None) == plan.alpha, "transparency is in all bands or in none"
        self._row += len(pixels)
        assert self._row <= plan.height, f"{self._row} rows in a picture {plan.height} high"
        self._write(Picture(pixels, alpha, plan.details))

    @abstractmethod
    def _write(self, band: Picture) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """Complete the file after the last row."""

    @abstractmethod
    def _abandon(self) -> None:
        """Release all resources; called after `_finish` too."""

    def __enter__(self) -> BandWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                assert self._row == self._plan.height, f"{self._row} of {self._plan.height} rows were written"
                self._finish()
        finally:
            self._abandon()


def open_writer(
    path: str | os.PathLike[str],
    suffix: str,
    height: int,
    width: int,
    channels: int,
    dtype: np.dtype,
    alpha: bool,
    details: ImageMetadata,
    *,
    quality: int = 95,
    png_level: int = PNG_LEVEL,
) -> BandWriter:
    """Open a file at `path`, owned by the caller, in the format of `suffix`, for bands of full width.

    TIFF, PPM and array files grow band by band. Others are encoded at the end from raw pixels in a file beside `path`,
    with its name and `.bare`: PNG and JPEG by pyvips (extra `large`), with little memory. Without pyvips, and for all
    other formats, the whole picture is then in memory; `MissingExtra` for PNG and JPEG of more than 358 million pixels,
    the limit for reading such. Format limits are those of `encode_picture`. A TIFF of separate planes becomes one of
    interleaved pixels.
    """
    name = FORMAT_OF.get(suffix.lower())
    if name is None:
        raise UsageError(f"no format is known for the suffix {suffix!r}; use one of {' '.join(EXTENSIONS)}")
    plan = BandPlan(
        Path(path), suffix.lower(), height, width, channels, np.dtype(dtype), alpha, details, quality, png_level
    )
    return _WRITERS.get(name, _SpilledBands)(plan)


class _StreamBands(BandWriter):
    """Writer of a format whose bands follow each other in the file."""

    def __init__(self, plan: BandPlan) -> None:
        super().__init__(plan)
        start = self._start()
        self._stream: BinaryIO = open(plan.path, "wb")  # noqa: SIM115 - closed by _abandon
        self._stream.write(start)

    @abstractmethod
    def _start(self) -> bytes:
        """The bytes before the pixels; raises if the format cannot hold them."""

    @abstractmethod
    def _bytes(self, band: Picture) -> bytes: ...

    def _write(self, band: Picture) -> None:
        self._stream.write(self._bytes(band))

    def _finish(self) -> None:
        self._stream.flush()

    def _abandon(self) -> None:
        self._stream.close()


class _PnmBands(_StreamBands):
    _holds = HOLDS["PPM"]

    def _start(self) -> bytes:
        fitted = self._fit(self._plan.sample())
        return pnm.top_of(self._plan.height, self._plan.width, fitted.channels, fitted.pixels.dtype)

    def _fit(self, band: Picture) -> Picture:
        fitted = self._holds.fit(band)
        grey = self._plan.suffix == ".pgm" and fitted.channels == 3
        return replace(fitted, pixels=luma(fitted.pixels)) if grey else fitted

    def _bytes(self, band: Picture) -> bytes:
        pixels = self._fit(band).pixels
        return pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


class _NpyBands(_StreamBands):
    def _start(self) -> bytes:
        plan = self._plan
        channels = plan.channels + plan.alpha
        flat = channels == 1 and plan.details.container.get("rank") == 2
        shape = (plan.height, plan.width) if flat else (plan.height, plan.width, channels)
        said = {"descr": npy_format.dtype_to_descr(plan.dtype), "fortran_order": False, "shape": shape}
        buffer = io.BytesIO()
        npy_format.write_array_header_1_0(buffer, said)
        return buffer.getvalue()

    def _bytes(self, band: Picture) -> bytes:
        planes = band.pixels if band.alpha is None else np.dstack([band.pixels, band.alpha])
        return planes.tobytes()


class _SpilledBands(BandWriter):
    """Writer of a format that needs the whole picture: bands go to a file of raw pixels first."""

    def __init__(self, plan: BandPlan) -> None:
        super().__init__(plan)
        self._holds = HOLDS[FORMAT_OF[plan.suffix]]
        self._fitted = self._holds.fit(plan.sample())
        self._bare = plan.path.with_name(plan.path.name + ".bare")
        self._stream: BinaryIO = open(self._bare, "wb")  # noqa: SIM115 - closed by _abandon

    def _write(self, band: Picture) -> None:
        fitted = self._holds.fit(band)
        planes = fitted.pixels if fitted.alpha is None else np.dstack([fitted.pixels, fitted.alpha])
        self._stream.write(np.ascontiguousarray(planes).data)

    def _finish(self) -> None:
        self._stream.close()
        fitted = self._fitted
        samples = fitted.channels + (fitted.alpha is not None)
        shape = self._plan.height, self._plan.width, samples
        self._encode(np.memmap(self._bare, fitted.pixels.dtype, "r", shape=shape))

    def _encode(self, bare: np.memmap) -> None:
        """Encode the raw pixels, H×W×S; here entirely in memory."""
        plan, channels = self._plan, self._fitted.channels
        alpha = None if self._fitted.alpha is None else bare[:, :, -1]
        picture = Picture(bare[:, :, :channels], alpha, plan.details)
        plan.path.write_bytes(encode_picture(picture, plan.suffix, quality=plan.quality, png_level=plan.png_level))

    def _abandon(self) -> None:
        self._stream.close()
        self._bare.unlink(missing_ok=True)


class _VipsBands(_SpilledBands):
    """Writer of a format that libvips writes row by row."""

    def __init__(self, plan: BandPlan, options: dict[str, Any]) -> None:
        super().__init__(plan)
        self._options = options

    def _encode(self, bare: np.memmap) -> None:
        model = encode_picture(self._fitted, self._plan.suffix)
        vips.write(bare, self._plan.path, model, **self._options)


class _TiffBands(BandWriter):
    def __init__(self, plan: BandPlan) -> None:
        super().__init__(plan)
        shape = (plan.height, plan.width, plan.channels)
        self._file = TiffBands(plan.path, shape, plan.dtype, plan.alpha, plan.details, plan.quality)

    def _write(self, band: Picture) -> None:
        self._file.add(band.pixels, band.alpha)

    def _finish(self) -> None:
        self._file.finish()

    def _abandon(self) -> None:
        self._file.abandon()


def _png(plan: BandPlan) -> BandWriter:
    # At level 1 zlib-ng, which comes with libvips, makes files half as large again as at level 2, in no less time
    return _by_vips(plan, compression=plan.png_level and max(2, plan.png_level), filter="up")


def _jpeg(plan: BandPlan) -> BandWriter:
    return _by_vips(plan, Q=plan.quality, subsample_mode="off")


def _by_vips(plan: BandPlan, **options: Any) -> BandWriter:
    if installed("pyvips"):
        return _VipsBands(plan, options)
    if plan.height * plan.width > DEFAULT_MAX_PIXELS:
        raise MissingExtra(f"writing {FORMAT_OF[plan.suffix]} of {plan.width}×{plan.height} pixels", "pyvips")
    return _SpilledBands(plan)


_WRITERS: dict[str, Callable[[BandPlan], BandWriter]] = {
    "TIFF": _TiffBands,
    "PNG": _png,
    "JPEG": _jpeg,
    "PPM": _PnmBands,
    "NPY": _NpyBands,
}
