"""TIFF pages of any depth and number of channels, by tifffile (extra `tiff`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from cyclegan.images.formats import required
from cyclegan.images.formats.colour import to_srgb
from cyclegan.images.formats.metadata import exif_and_xmp, exif_of_tiff, resolution, upright_size
from cyclegan.images.formats.npy import mode_of
from cyclegan.images.formats.pillow import turned
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.formats.tiff import tags as tiff_tags
from cyclegan.images.picture import Header, ImageMetadata, Part, Picture

_TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
# Number of colour samples, by photometric interpretation; None: all samples, as in linear raw data
_COLOURS: dict[int, int | None] = {0: 1, 1: 1, 2: 3, 6: 3, 34892: None}
_WORDS = {3: "a palette", 5: "CMYK", 8: "LAB", 9: "LAB", 10: "LAB", 6: "YCbCr", 32803: "the raw data of a sensor"}
_PREMULTIPLIED, _STRAIGHT = 1, 2  # kinds of extra samples that are transparency
_PER_INCH = {2: 1.0, 3: 2.54}  # units of resolution
_NOT_JPEG = frozenset({1, 5, 8, 32946, 50000})


@dataclass(frozen=True)
class Page:
    """One page, and the conversion of its samples to a picture."""

    page: Any  # of tifffile
    source: ByteSource

    @cached_property
    def dtype(self) -> np.dtype:
        """Type of the picture; bits become bytes."""
        return np.dtype(np.uint8) if self.page.dtype == np.bool_ else np.dtype(self.page.dtype)

    @property
    def samples(self) -> int:
        """Samples per pixel in the file."""
        return int(self.page.samplesperpixel)

    @cached_property
    def alpha(self) -> int | None:
        """Index of the transparency sample, or None."""
        extra = [int(kind) for kind in self.page.extrasamples]
        found = [n for n, kind in enumerate(extra) if kind in (_PREMULTIPLIED, _STRAIGHT)]
        return self.samples - len(extra) + found[0] if found else None

    @property
    def channels(self) -> int:
        """Channels of the picture, without transparency."""
        return self.samples - (self.alpha is not None)

    @cached_property
    def orientation(self) -> int:
        tag = self.page.tags.get(tiff_tags.ORIENTATION)
        return int(tag.value) if tag is not None else exif_and_xmp({"xmp": self.xmp}, [])[2]

    @property
    def xmp(self) -> bytes:
        tag = self.page.tags.get(tiff_tags.XMP)
        value = b"" if tag is None else tag.value
        return value.encode() if isinstance(value, str) else bytes(value)

    @property
    def profile(self) -> bytes:
        return bytes(self.page.iccprofile or b"")

    @property
    def mode(self) -> str:
        return mode_of(self.channels, self.dtype, self.alpha is not None)

    @property
    def kind(self) -> tuple[Any, ...]:
        """Properties that all pages of a document have in common."""
        return self.page.imagelength, self.page.imagewidth, self.samples, self.alpha, self.dtype

    def check(self) -> None:
        """Raise `ValueError` with a readable reason for unsupported pages and truncated files."""
        page = self.page
        colours = int(page.photometric)
        if page.dtype is None or np.dtype(page.dtype).name not in _TYPES:
            raise ValueError(f"numbers of {page.bitspersample} bits that no picture is read from; save it with 8 or 16")
        if colours not in _COLOURS or (colours == 6 and int(page.compression) in _NOT_JPEG):
            kind = _WORDS.get(colours, f"a photometric interpretation of {colours}")
            raise ValueError(f"{kind} of {page.bitspersample} bits; save it as RGB, or with 8 bits")
        if page.imagedepth > 1:
            raise ValueError("a volume of several layers in one page; save each layer as a page")
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if max(ends, default=0) > self.source.size or not ends:
            raise ValueError("image file is truncated")

    def header(self, pages: int) -> Header:
        """Header of a document of such pages."""
        height, width = upright_size(self.page.imagelength, self.page.imagewidth, self.orientation)
        return Header(height, width, self.channels, self.dtype, "TIFF", self.mode, pages)

    def split(self, stored: np.ndarray, notes: list[str]) -> Part:
        """Samples H×W×S from tifffile -> pixels H×W×C in sRGB, and transparency H×W."""
        if stored.dtype == np.bool_:
            stored = stored.astype(np.uint8) * np.uint8(255)
        stored = stored.astype(self.dtype.newbyteorder("="), copy=False)
        alpha = None if self.alpha is None else np.ascontiguousarray(stored[:, :, self.alpha])
        pixels = stored if self.alpha is None else np.delete(stored, self.alpha, axis=2)
        if int(self.page.photometric) == 0 and self.dtype.kind == "u":
            pixels = np.iinfo(self.dtype).max - pixels
        if alpha is not None and _PREMULTIPLIED in [int(kind) for kind in self.page.extrasamples]:
            pixels = _straight(pixels, alpha)
        if self.profile and self.channels in (1, 3):
            pixels = to_srgb(np.ascontiguousarray(pixels), self.profile, "L" if self.channels == 1 else "RGB", notes)
        elif self.profile:
            notes.append(f"its colour profile was left out, because it has {self.channels} channels")
        return np.ascontiguousarray(pixels), alpha

    def picture(self) -> Picture:
        """The decoded picture."""
        notes: list[str] = []
        stored = self.page.asarray(maxworkers=1).reshape(self.page.shaped)[:, 0]  # separate, height, width, together
        stored = np.moveaxis(stored, 0, 2).reshape(*stored.shape[1:3], -1)
        pixels, alpha = self.split(stored, notes)
        return turned(Picture(pixels, alpha, self.details(notes)), self.orientation)

    def details(self, notes: list[str]) -> ImageMetadata:
        """Metadata that is copied to the translation."""
        own = Image.Exif()
        own.bigtiff, own.endian = self.page.parent.is_bigtiff, self.page.parent.byteorder
        try:
            own.load_from_fp(self.source.stream, self.page.offset)
            exif = exif_of_tiff(own, notes)
        except Exception:  # see exif_of_tiff
            exif = b""
            notes.append("its EXIF is damaged and was left out")
        _, xmp, _ = exif_and_xmp({"xmp": self.xmp}, [])
        tags = self.page.tags
        places = [(code, int(tags[code].dtype), tags[code].value) for code in tiff_tags.PLACES if code in tags]
        container = {
            "compression": int(self.page.compression),
            "predictor": int(self.page.predictor),
            "planar": int(self.page.planarconfig),
            "rows": int(self.page.rowsperstrip or 0),
            "tile": (self.page.tilelength, self.page.tilewidth) if self.page.is_tiled else None,
            "byteorder": self.page.parent.byteorder,
            "places": tiff_tags.places(places, self.orientation, notes),
        }
        tagged = bool(self.profile) and self.dtype in (np.uint8, np.uint16) and self.channels in (1, 3)
        return ImageMetadata("TIFF", self.mode, exif, xmp, tagged, self._dpi(), container, tuple(dict.fromkeys(notes)))

    def _dpi(self) -> tuple[float, float] | None:
        unit = self.page.tags.get(296)
        factor = _PER_INCH.get(2 if unit is None else int(unit.value))
        values = [self.page.tags.get(code) for code in (282, 283)]
        if factor is None or None in values:
            return None
        dpi = tuple(tag.value[0] / tag.value[1] * factor if tag.value[1] else 0.0 for tag in values)
        return resolution({"dpi": dpi}, self.orientation)


def header(source: ByteSource) -> Header:
    """Header of the picture in a file. Raises what tifffile raises, and `MissingExtra`."""
    with opened(source) as file:
        pages = pages_of(file, source)
        return pages[0].header(len(pages))


def read(source: ByteSource, max_pixels: int | None) -> Picture:
    """Read the first page and those like it. Raises what tifffile raises, and `MissingExtra`."""
    with opened(source) as file:
        pages = pages_of(file, source)
        first = pages[0]
        source.check_size(first.page.imagelength, first.page.imagewidth, len(pages), max_pixels)
        for page in pages:
            page.check()
        return tiff_tags.document([page.picture() for page in pages], len(file.pages) - len(pages))


def opened(source: ByteSource) -> Any:
    """Open a file by tifffile; a context manager."""
    source.stream.seek(0)
    return required("tifffile", "a TIFF of this kind").TiffFile(source.stream)


def pages_of(file: Any, source: ByteSource) -> list[Page]:
    """The first page and those like it; `ValueError` if the first is unsupported."""
    if not len(file.pages):
        raise ValueError("it has no pages")
    pages = [Page(page, source) for page in file.pages]
    pages[0].check()
    return [page for page in pages if page.kind == pages[0].kind]


def _straight(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo the premultiplication of colours by alpha."""
    whole = 1.0 if alpha.dtype.kind == "f" else float(np.iinfo(alpha.dtype).max)
    share = np.where(alpha > 0, alpha, whole)[:, :, None] / whole
    straight = pixels / share
    if pixels.dtype.kind == "f":
        return straight.astype(pixels.dtype)
    return np.rint(np.minimum(straight, whole)).astype(pixels.dtype)
