"""Writing of TIFF in the layout of the source, by Pillow if it can, else by tifffile (extra `tiff`)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from cyclegan.errors import CycleganError
from cyclegan.images.formats import installed, pillow, required
from cyclegan.images.formats.colour import srgb_profile
from cyclegan.images.formats.metadata import EXIF_TABLE, GPS_TABLE, descriptive
from cyclegan.images.formats.tiff.tags import PREDICTOR, XMP
from cyclegan.images.picture import Effort, ImageMetadata, Picture

_NONE, _LZW, _JPEG, _DEFLATE = 1, 5, 7, 8
_SAME = {32946: _DEFLATE}  # an older number of the same compression
# Compressions that are written, by their number in TIFF: Pillow's name and tifffile's
_COMPRESSIONS = {
    _NONE: ("raw", None),
    _LZW: ("tiff_lzw", "lzw"),
    _JPEG: ("jpeg", "jpeg"),
    _DEFLATE: ("tiff_adobe_deflate", "zlib"),
    32773: ("packbits", "packbits"),
    50000: ("zstd", "zstd"),
}
_PREDICTED = frozenset({_LZW, _DEFLATE, 50000})
_HORIZONTAL, _FLOATING = 2, 3
_STEP = 16  # TIFF requires tile sides that are multiples of this
_CLASSIC = 2**32 - 2**26  # bytes that fit with 32-bit offsets, with some room for tags
_UNWRITTEN = ("bool", "float16")


@dataclass(frozen=True)
class TiffLayout:
    """Layout of the pictures in a file."""

    channels: int
    alpha: bool
    dtype: np.dtype
    details: ImageMetadata
    quality: int

    @property
    def samples(self) -> int:
        """Samples per pixel in the file."""
        return self.channels + self.alpha

    @property
    def separate(self) -> bool:
        """True if each channel is a separate plane."""
        return self.samples > 1 and self.details.container.get("planar") == 2

    @property
    def byteorder(self) -> str:
        return str(self.details.container.get("byteorder", "<"))

    @property
    def stored(self) -> np.dtype:
        """The sample type, in the byte order of the file."""
        return self.dtype.newbyteorder(self.byteorder)  # type: ignore[arg-type]

    @property
    def tile(self) -> tuple[int, int] | None:
        """Height and width of tiles; None: strips."""
        kept = self.details.container.get("tile")
        if not kept:
            return None
        height, width = (max(_STEP, -(-int(side) // _STEP) * _STEP) for side in kept)
        return height, width

    @property
    def compression(self) -> int:
        """Compression of the source if it can be written, else a lossless one."""
        default = _LZW if self.dtype == np.uint8 else _DEFLATE
        kept = self.details.container.get("compression", default)
        kept = _SAME.get(kept, kept)
        if kept not in _COMPRESSIONS:
            return default
        fits = self.dtype == np.uint8 and self.samples in (1, 3) and not self.separate
        return kept if kept != _JPEG or fits else default

    @property
    def predictor(self) -> int:
        kept = self.details.container.get("predictor", 1 if self.dtype == np.uint8 else _HORIZONTAL)
        if kept == 1 or self.compression not in _PREDICTED:
            return 1
        return _FLOATING if self.dtype.kind == "f" else _HORIZONTAL

    @property
    def tagged(self) -> bool:
        """True if the file gets an sRGB profile."""
        return self.details.tagged and self.channels == 3

    @property
    def exif(self) -> Image.Exif:
        """The part of the EXIF that becomes tags of the file."""
        own = Image.Exif()
        if self.details.exif:
            own.load(self.details.exif)
        return descriptive(own)

    @property
    def tables(self) -> bool:
        """True if there are EXIF or GPS tables, which only Pillow writes, and only for 8 bits in strips."""
        return EXIF_TABLE in self.exif or GPS_TABLE in self.exif

    def array(self, picture: Picture) -> np.ndarray:
        """Array for tifffile: H×W, H×W×S or S×H×W, in the byte order of the file."""
        planes = picture.planes
        if self.samples == 1:
            planes = planes[:, :, 0]
        elif self.separate:
            planes = np.moveaxis(planes, 2, 0)
        return np.ascontiguousarray(planes, self.stored)

    def options(self) -> dict[str, Any]:
        """Options of tifffile's writer for every page."""
        colours = 3 if self.channels == 3 else 1
        extra = ["unspecified"] * (self.channels - colours) + ["unassalpha"] * self.alpha
        options: dict[str, Any] = {
            "photometric": "rgb" if colours == 3 else "minisblack",
            "compression": _COMPRESSIONS[self.compression][1],
            "metadata": None,
            "software": False,
            "maxworkers": 1,
        }
        if self.samples > 1:
            options["planarconfig"] = "separate" if self.separate else "contig"
        if extra:
            options["extrasamples"] = extra
        if self.predictor != 1:
            options["predictor"] = self.predictor
        if self.compression == _JPEG:
            options["compressionargs"] = {"level": self.quality}
            options["subsampling"] = (1, 1)
        if self.tile:
            options["tile"] = self.tile
        elif self.details.container.get("rows"):
            options["rowsperstrip"] = self.rows
        if self.tagged:
            options["iccprofile"] = srgb_profile()
        if self.details.dpi:
            options |= {"resolution": self.details.dpi, "resolutionunit": "inch"}
        return options

    @property
    def rows(self) -> int:
        """Rows of a strip, as in the source."""
        rows = int(self.details.container.get("rows") or 0) or 2**16 // _STEP
        return -(-rows // _STEP) * _STEP if self.compression == _JPEG else rows

    def tags(self) -> list[tuple[int, int, int, Any, bool]]:
        """Extra tags of the first page, without the EXIF tables, which tifffile cannot write."""
        tags: list[tuple[int, int, int, Any, bool]] = [
            (code, kind, len(value), value, True) for code, kind, value in self.details.container.get("places", ())
        ]
        if self.details.xmp:
            tags.append((XMP, 1, len(self.details.xmp), self.details.xmp, True))
        for code, value in self.exif.items():
            if isinstance(value, str):
                tags.append((code, 2, 0, value, True))
            elif isinstance(value, bytes):
                tags.append((code, 1, len(value), value, True))
        return sorted(tags, key=lambda tag: tag[0])


def encoded(picture: Picture, effort: Effort) -> bytes:
    """Encode a file with all pages; `MissingExtra` if that needs tifffile and it is missing."""
    alpha = picture.alpha is not None
    layout = TiffLayout(picture.channels, alpha, picture.pixels.dtype, picture.details, effort.quality)
    check(layout)
    if _plain(layout) and (_simple(layout) or not installed("tifffile")):
        return _by_pillow(picture, layout)
    buffer = io.BytesIO()
    pages = (picture, *picture.pages)
    size = picture.pixels.nbytes * len(pages) * (1 + alpha)
    with writer(buffer, layout, size) as file:
        for page in pages:
            tags = layout.tags() if page is picture else []
            file.write(layout.array(page), extratags=tags, contiguous=False, **layout.options())
    return buffer.getvalue()


def check(layout: TiffLayout) -> None:
    """Raise `CycleganError` for types that are not written as TIFF, because few programs read them."""
    if layout.dtype.name in _UNWRITTEN:
        raise CycleganError(f"TIFF is not written from numbers of type {layout.dtype}; write it as .npy")


def writer(stream: BinaryIO, layout: TiffLayout, size: int) -> Any:
    """Tifffile's writer, a context manager, for a file of about `size` bytes of pixels."""
    tifffile = required("tifffile", "writing such a TIFF")
    required("imagecodecs", "writing such a TIFF")
    return tifffile.TiffWriter(stream, bigtiff=size > _CLASSIC, byteorder=layout.byteorder)


def _simple(layout: TiffLayout) -> bool:
    """True if Pillow keeps the layout of the source, except strips and compression beside EXIF tables."""
    container = layout.details.container
    laid_out = layout.tile or layout.separate or container.get("places") or layout.byteorder != "<"
    strips = layout.compression == _NONE and container.get("rows")  # Pillow writes uncompressed data as a single strip
    return layout.dtype == np.uint8 and not laid_out and not (strips and not layout.tables)


def _plain(layout: TiffLayout) -> bool:
    """True if Pillow has a mode for the pixels."""
    if layout.dtype == np.uint8:
        return layout.channels in (1, 3)
    return layout.samples == 1 and layout.dtype in (np.uint16, np.float32)


def _by_pillow(picture: Picture, layout: TiffLayout) -> bytes:
    planes = (page.planes for page in (picture, *picture.pages))
    first, *others = (Image.fromarray(np.ascontiguousarray(p[:, :, 0] if p.shape[2] == 1 else p)) for p in planes)
    tags = layout.exif
    if layout.details.xmp:
        tags[XMP] = layout.details.xmp
    # Pillow writes EXIF tables only into uncompressed files
    compression = _NONE if layout.tables else layout.compression
    if compression in _PREDICTED and layout.predictor != 1:
        tags[PREDICTOR] = layout.predictor
    options: dict[str, Any] = {"compression": _COMPRESSIONS[compression][0], "exif": tags}
    if compression == _JPEG:
        options["quality"] = layout.quality
    if layout.tagged:
        options["icc_profile"] = srgb_profile()
    if layout.details.dpi:
        options["dpi"] = layout.details.dpi
    if layout.details.container.get("rows"):
        options["strip_size"] = layout.rows * picture.width * layout.samples * layout.dtype.itemsize
    if others:
        options |= {"save_all": True, "append_images": others}
    try:
        return pillow.encoded(first, "TIFF", **options)
    except (OSError, ValueError) as error:
        raise CycleganError(f"TIFF cannot hold {picture.width}×{picture.height} pixels ({error})") from error
