"""Pictures written band by band from the top, so that the whole is never in memory."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images.channels import FormatCapabilities, luma
from cyclegan.images.formats import EXTENSIONS, FORMAT_OF, installed, png, pnm, vips
from cyclegan.images.formats.tiff.bands import TiffBands
from cyclegan.images.picture import ImageMetadata, Picture
from cyclegan.images.writing import PNG_LEVEL, encode_picture


@dataclass(frozen=True)
class BandPlan:
    """What is going to be written."""

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
        """One pixel of it, to ask what a format does with such."""
        pixels = np.zeros((1, 1, self.channels), self.dtype)
        return Picture(pixels, pixels[:, :, 0] if self.alpha else None, self.details)


class BandWriter(ABC):
    """A picture file that grows from the top; a context manager.

    When its block ends well, the file is complete, if all rows were written; when it is left by an error, the file is
    of no use, and nothing else is left behind.
    """

    def __init__(self, plan: BandPlan) -> None:
        self._plan, self._row = plan, 0

    def write(self, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
        """The next rows: pixels H×width×C of the type that was announced, and transparency H×width if it was."""
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
        """All rows are there."""

    @abstractmethod
    def _abandon(self) -> None:
        """Let go of everything; after `_finish` too."""

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
    """A file at `path`, which the caller owns, in the format of `suffix`, to be written in whole-width bands.

    TIFF, PNG, PPM and array files grow as the bands come. Others are made at the end from a file beside `path`, of its
    name and `.bare`: JPEG by pyvips (extra `large`), with little memory; without pyvips, and in all other formats, the
    whole is in memory then. What formats cannot hold is as with `encode_picture`. A TIFF of separate planes becomes one
    of whole pixels.
    """
    name = FORMAT_OF.get(suffix.lower())
    if name is None:
        raise UsageError(f"no format is known for the suffix {suffix!r}; use one of {' '.join(EXTENSIONS)}")
    plan = BandPlan(
        Path(path), suffix.lower(), height, width, channels, np.dtype(dtype), alpha, details, quality, png_level
    )
    return _WRITERS.get(name, _SpilledBands)(plan)


class _StreamBands(BandWriter):
    """A format in which the bytes of a band follow those of the one above."""

    def __init__(self, plan: BandPlan) -> None:
        super().__init__(plan)
        start = self._start()
        self._stream: BinaryIO = open(self._target(), "wb")  # noqa: SIM115 - closed by _abandon
        self._stream.write(start)

    @abstractmethod
    def _start(self) -> bytes:
        """What stands before the pixels; raises where the format cannot hold them."""

    @abstractmethod
    def _bytes(self, band: Picture) -> bytes: ...

    def _target(self) -> Path:
        return self._plan.path

    def _write(self, band: Picture) -> None:
        self._stream.write(self._bytes(band))

    def _finish(self) -> None:
        self._stream.flush()

    def _abandon(self) -> None:
        self._stream.close()


class _PngBands(_StreamBands):
    _holds = FormatCapabilities("PNG", deep=True)

    def _start(self) -> bytes:
        plan, fitted = self._plan, self._holds.fit(self._plan.sample())
        self._rows = png.RowEncoder(plan.png_level)
        top = png.top(plan.height, plan.width, plan.channels, fitted.pixels.dtype, plan.alpha)
        return top + png.beside(plan.details, tagged=plan.details.tagged and plan.channels == 3)

    def _bytes(self, band: Picture) -> bytes:
        fitted = self._holds.fit(band)
        return self._rows.add(fitted.pixels, fitted.alpha)

    def _finish(self) -> None:
        self._stream.write(self._rows.finish() + png.end())
        super()._finish()


class _JpegBands(_PngBands):
    """A JPEG by libvips, which reads the bands, rows after rows, from a PNG beside it."""

    _holds = FormatCapabilities("JPEG", alpha=False)

    def _start(self) -> bytes:
        plan, fitted = self._plan, self._holds.fit(self._plan.sample())
        self._model = encode_picture(fitted, plan.suffix, quality=plan.quality)
        self._rows = png.RowEncoder(PNG_LEVEL)
        return png.top(plan.height, plan.width, plan.channels, fitted.pixels.dtype, alpha=False)

    def _target(self) -> Path:
        return _beside(self._plan.path)

    def _finish(self) -> None:
        super()._finish()
        plan = self._plan
        try:
            vips.write_jpeg(self._target(), plan.path, self._model, plan.quality)
        except vips.library().Error as error:
            raise CycleganError(f"JPEG cannot hold {plan.width}×{plan.height} pixels ({error})") from error

    def _abandon(self) -> None:
        super()._abandon()
        self._target().unlink(missing_ok=True)


class _PnmBands(_StreamBands):
    _holds = FormatCapabilities("PPM", deep=True, alpha=False)

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
    """A format whose writer wants the whole: bands go to a file of bare pixels first."""

    def __init__(self, plan: BandPlan) -> None:
        super().__init__(plan)
        name = FORMAT_OF[plan.suffix]
        self._holds = _HOLDS.get(name, FormatCapabilities(name))
        self._fitted = self._holds.fit(plan.sample())
        self._bare = _beside(plan.path)
        self._stream: BinaryIO = open(self._bare, "wb")  # noqa: SIM115 - closed by _abandon

    def _write(self, band: Picture) -> None:
        fitted = self._holds.fit(band)
        planes = fitted.pixels if fitted.alpha is None else np.dstack([fitted.pixels, fitted.alpha])
        self._stream.write(np.ascontiguousarray(planes).data)

    def _finish(self) -> None:
        self._stream.close()
        plan, fitted = self._plan, self._fitted
        samples = fitted.channels + (fitted.alpha is not None)
        planes = np.memmap(self._bare, fitted.pixels.dtype, "r", shape=(plan.height, plan.width, samples))
        alpha = None if fitted.alpha is None else planes[:, :, -1]
        picture = Picture(planes[:, :, : fitted.channels], alpha, plan.details)
        data = encode_picture(picture, plan.suffix, quality=plan.quality, png_level=plan.png_level)
        with open(plan.path, "wb") as stream:
            stream.write(data)

    def _abandon(self) -> None:
        self._stream.close()
        self._bare.unlink(missing_ok=True)


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


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".bare")


def _jpeg(plan: BandPlan) -> BandWriter:
    return _JpegBands(plan) if installed("pyvips") else _SpilledBands(plan)


_HOLDS = {
    "JPEG": FormatCapabilities("JPEG", alpha=False),
    "BMP": FormatCapabilities("BMP", alpha=False),
    "JPEG2000": FormatCapabilities("JPEG2000", deep=True),
}
_WRITERS: dict[str, Callable[[BandPlan], BandWriter]] = {
    "TIFF": _TiffBands,
    "PNG": _PngBands,
    "JPEG": _jpeg,
    "PPM": _PnmBands,
    "NPY": _NpyBands,
}
