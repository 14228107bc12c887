"""Picture files to arrays: one meaning for every stored mode, one error for every way to be broken."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cyclegan.errors import CycleganError
from cyclegan.images.picture import Details, Header, Picture

# Pillow's name of each format we open, and its suffixes. Pillow knows some forty more, among them PostScript,
# which starts a program, and layered documents, which are no pictures: only these are tried.
FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
EXTENSIONS: tuple[str, ...] = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))

_ORIENTATION_TAG = 0x0112  # Exif 2.3, section 4.6.4
# What undoes each value of the tag. 1, and values the standard does not know, leave the picture as stored.
_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})  # the values that exchange height and width

# What is left of a JPEG that is decoded at reduced scale, in shorter sides that the caller needs. Scaled on to what
# is needed by area, photographs full of detail then differ from full decoding by 41.4 dB at worst over 1/2, 1/4 and
# 1/8 (quality 75 to 95, colour halved or not; 43 to 46 dB in the mean). At a margin of 2.5 it is 40.1 dB, at 1.5
# 34.6 dB: the second scaling meets pixels that are already averages.
_MARGIN = 3


class UnreadableImage(CycleganError):
    """A file that holds no picture we can read; `path` and `reason` say which and why."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)  # both as arguments, so that it survives pickling between processes
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read {printable(os.fspath(self.path))}: {self.reason}"


@dataclass(frozen=True)
class Decoded:
    """A picture and how its file stored it."""

    pixels: np.ndarray  # uint8 HWC RGB
    format: str  # a key of FORMATS
    mode: str  # Pillow's name: "L", "RGB", "CMYK", …
    height: int  # of the picture in the file, upright: more than that of `pixels` where the scale is reduced
    width: int


def printable(name: str) -> str:
    """`name` fit for any output: bytes that are no text, newlines and control characters stand as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def read_image(path: str | os.PathLike[str], *, at_least: int | None = None) -> np.ndarray:
    """The picture in a file: uint8, height × width × 3, RGB, upright, transparency laid over white.

    Of an animation the first frame; 16-bit grey is scaled to 8 bits. `at_least` is the shorter side that the caller
    is going to scale it to: a JPEG that is far larger is then decoded at 1/2, 1/4 or 1/8 of its size, to no less than
    3 × `at_least`, which takes a fraction of the time. `UnreadableImage` says what is wrong.
    """
    return decode_file(path, at_least=at_least).pixels


def decode_file(path: str | os.PathLike[str], *, at_least: int | None = None) -> Decoded:
    """The picture in a file as `read_image` gives it, with its full size and how it is stored."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(path, (error.strerror or str(error)).lower()) from error
    return decode_image(data, path, at_least=at_least)


def decode_image(data: bytes, path: str | os.PathLike[str], *, at_least: int | None = None) -> Decoded:
    """The picture in the bytes of a file; `path` is only for the words of `UnreadableImage`. See `read_image`."""
    if not data:
        raise UnreadableImage(path, "the file is empty")
    with _explained(path), Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
        width, height = image.size
        if at_least is not None:
            _reduce(image, at_least)
        image.load()  # Pillow's verify() lets a truncated JPEG pass; only decoding notices
        # A multi-picture file of a phone or camera is a JPEG with others behind it
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        if orientation in _ON_ITS_SIDE:
            width, height = height, width
        turn = _UPRIGHT.get(orientation)
        upright = image if turn is None else image.transpose(turn)
        return Decoded(rgb_array(upright), kind, image.mode, height, width)


def read_picture(
    path: str | os.PathLike[str], *, at_least: int | None = None, max_pixels: int | None = None
) -> Picture:
    """The picture in a file. PROVISIONAL: 8-bit RGB of everything, until the reader of all kinds stands."""
    decoded = decode_file(path, at_least=at_least)
    return Picture(decoded.pixels, None, Details(decoded.format, decoded.mode))


def read_header(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Header:
    """What the file says of its picture. PROVISIONAL, see `read_picture`."""
    height, width = stored_size(path)
    return Header(height, width, 3, np.dtype(np.uint8), "PNG", "RGB")


def stored_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the picture in a file as it is stored, before any turning: read from the header alone.

    Some 0.1 ms. `UnreadableImage` says what is wrong; that the pixels behind the header are whole is not looked at.
    """
    with _explained(path), open(path, "rb") as stream, Image.open(stream, formats=list(FORMATS)) as image:
        return image.height, image.width


@contextlib.contextmanager
def _explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever Pillow raises on a file, as `UnreadableImage`."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, f"not a picture, or none of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UnreadableImage(path, f"more than {limit} million pixels; scale it down first") from error
    except Exception as error:
        # On damaged bytes decoders raise whatever they stumble over: OSError, SyntaxError, struct.error and more
        raise UnreadableImage(path, str(error) or type(error).__name__) from error


def _reduce(image: Image.Image, at_least: int) -> None:
    """Have a JPEG decoded by its scaled inverse transform, where enough is left; other formats have no such thing."""
    image.draft(None, (_MARGIN * at_least, _MARGIN * at_least))


def rgb_array(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 HWC RGB, as it stands (no rotation).

    What is transparent shows white, so that colours hidden under it stay hidden. Raises `ValueError` where a
    mode does not say what its white is.
    """
    if image.mode in _DEEP:
        grey = _DEEP[image.mode](np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, rgba)
    return np.array(image.convert("RGB"))  # a copy: np.asarray of an image is read-only


def _from_16_bits(grey: np.ndarray) -> np.ndarray:
    # Pillow's own conversion to 8 bits turns all above 255 white; 65535 / 255 is 257 exactly
    return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_whole_numbers(grey: np.ndarray) -> np.ndarray:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("32-bit grey with values outside 0 to 65535; save it with 8 or 16 bits")
    return _from_16_bits(grey)  # Pillow keeps 16-bit PGM and some 16-bit TIFF in 32 bits


def _from_fractions(grey: np.ndarray) -> np.ndarray:
    low, high = float(grey.min()), float(grey.max())
    if not (low >= 0 and high <= 255):  # also when either is not a number
        raise ValueError("floating-point grey with values outside 0 to 255; save it with 8 or 16 bits")
    return np.rint(grey * (255 if high <= 1 else 1)).astype(np.uint8)


_DEEP: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "I;16": _from_16_bits,
    "I;16L": _from_16_bits,
    "I;16B": _from_16_bits,
    "I;16N": _from_16_bits,
    "I": _from_whole_numbers,
    "F": _from_fractions,
}
