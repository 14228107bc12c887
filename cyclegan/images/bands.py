"""Writing of pictures band by band from the top, with the whole never in memory."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy_format

from cyclegan.images.channels import fit, luma
from cyclegan.images.formats import DEFAULT_MAX_PIXELS, MissingExtra, format_for, installed, pnm, vips
from cyclegan.images.formats.tiff.bands import TiffBands
from cyclegan.images.formats.tiff.writing import TiffLayout
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


class BandSink(Protocol):
    """Encoder of bands in one format."""

    def add(self, band: Picture) -> None:
        """Add the next rows."""

    def finish(self) -> None:
        """Complete the file after the last row."""

    def abandon(self) -> None:
        """Release all resources; called after `finish` too."""


class BandWriter(AbstractContextManager["BandWriter"]):
    """Writer of a picture file from the top; a context manager.

    All rows must be written before its block ends; the file is then complete. If the block ends with an error, the file
    is unusable, and no other file is left behind.
    """

    def __init__(self, plan: BandPlan, sink: BandSink) -> None:
        self._plan, self._sink, self._row = plan, sink, 0

    def write(self, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
        """Write the next rows: pixels H×width×C of the announced type, and alpha H×width if announced."""
        plan = self._plan
        assert pixels.shape[1:] == (plan.width, plan.channels), f"{pixels.shape} in a picture {plan.width} wide"
        assert pixels.dtype == plan.dtype, f"{pixels.dtype} in a picture of {plan.dtype}"
        assert (alpha is not None) == plan.alpha, "transparency is in all bands or in none"
        self._row += len(pixels)
        assert self._row <= plan.height, f"{self._row} rows in a picture {plan.height} high"
        self._sink.add(Picture(pixels, alpha, plan.details))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                assert self._row == self._plan.height, f"{self._row} of {self._plan.height} rows were written"
                self._sink.finish()
        finally:
            self._sink.abandon()


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
    name, suffix = format_for(suffix), suffix.lower()
    plan = BandPlan(Path(path), suffix, height, width, channels, np.dtype(dtype), alpha, details, quality, png_level)
    return BandWriter(plan, _SINKS.get(name, _SpilledBands)(plan))


class _StreamBands:
    """Sink of a format whose bands follow each other in the file, after some first bytes."""

    def __init__(self, path: Path, start: bytes, encoded: Callable[[Picture], bytes]) -> None:
        self._encoded = encoded
        self._stream = open(path, "wb")  # noqa: SIM115 - closed by abandon
        self._stream.write(start)

    def add(self, band: Picture) -> None:
        self._stream.write(self._encoded(band))

    def finish(self) -> None:
        self._stream.flush()

    def abandon(self) -> None:
        self._stream.close()


def _pnm(plan: BandPlan) -> BandSink:
    def fitted(band: Picture) -> np.ndarray:
        pixels = fit(band, "PPM").pixels
        return luma(pixels) if plan.suffix == ".pgm" and pixels.shape[2] == 3 else pixels

    sample = fitted(plan.sample())
    start = pnm.top_of(plan.height, plan.width, sample.shape[2], sample.dtype)
    return _StreamBands(plan.path, start, lambda band: pnm.body_of(fitted(band)))


def _npy(plan: BandPlan) -> BandSink:
    channels = plan.channels + plan.alpha
    flat = channels == 1 and plan.details.container.get("rank") == 2
    shape = (plan.height, plan.width) if flat else (plan.height, plan.width, channels)
    header = {"descr": npy_format.dtype_to_descr(plan.dtype), "fortran_order": False, "shape": shape}
    start = io.BytesIO()
    npy_format.write_array_header_1_0(start, header)
    return _StreamBands(plan.path, start.getvalue(), lambda band: band.planes.tobytes())


def _tiff(plan: BandPlan) -> BandSink:
    layout = TiffLayout(plan.channels, plan.alpha, plan.dtype, plan.details, plan.quality)
    return TiffBands(plan.path, plan.height, plan.width, layout)


class _SpilledBands:
    """Sink of a format that needs the whole picture: bands go to a file of raw pixels first.

    With `options`, those of libvips, that encodes it row by row, else it is entirely in memory.
    """

    def __init__(self, plan: BandPlan, options: dict[str, Any] | None = None) -> None:
        self._plan, self._options = plan, options
        self._format = format_for(plan.suffix)
        self._fitted = fit(plan.sample(), self._format)
        self._bare = plan.path.with_name(plan.path.name + ".bare")
        self._stream = open(self._bare, "wb")  # noqa: SIM115 - closed by abandon

    def add(self, band: Picture) -> None:
        self._stream.write(np.ascontiguousarray(fit(band, self._format).planes).data)

    def finish(self) -> None:
        self._stream.close()
        plan, fitted = self._plan, self._fitted
        shape = plan.height, plan.width, fitted.planes.shape[2]
        bare = np.memmap(self._bare, fitted.pixels.dtype, "r", shape=shape)
        if self._options is not None:
            vips.write(bare, plan.path, encode_picture(fitted, plan.suffix), **self._options)
            return
        alpha = None if fitted.alpha is None else bare[:, :, -1]
        picture = Picture(bare[:, :, : fitted.channels], alpha, plan.details)
        plan.path.write_bytes(encode_picture(picture, plan.suffix, quality=plan.quality, png_level=plan.png_level))

    def abandon(self) -> None:
        self._stream.close()
        self._bare.unlink(missing_ok=True)


def _by_vips(plan: BandPlan, **options: Any) -> BandSink:
    if installed("pyvips"):
        return _SpilledBands(plan, options)
    if plan.height * plan.width > DEFAULT_MAX_PIXELS:
        raise MissingExtra(f"writing {format_for(plan.suffix)} of {plan.width}×{plan.height} pixels", "pyvips")
    return _SpilledBands(plan)


_SINKS: dict[str, Callable[[BandPlan], BandSink]] = {
    "TIFF": _tiff,
    # At level 1 zlib-ng, which comes with libvips, makes files half as large again as at level 2, in no less time
    "PNG": lambda plan: _by_vips(plan, compression=plan.png_level and max(2, plan.png_level), filter="up"),
    "JPEG": lambda plan: _by_vips(plan, Q=plan.quality, subsample_mode="off"),
    "PPM": _pnm,
    "NPY": _npy,
}
