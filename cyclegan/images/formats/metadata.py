"""Orientation, EXIF, XMP and resolution of a file, corrected for an upright picture."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

_EXIF_START = b"Exif\0\0"  # in a JPEG
_ORIENTATION_TAG = 0x0112  # Exif 2.3, section 4.6.4
_WHOLE_NUMBERS = {3: "H", 4: "I"}  # types of a tag, as TIFF numbers them
# In XMP as an attribute, tiff:Orientation="6", or as an element, <tiff:Orientation>6</tiff:Orientation>
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))([0-9])")

# The inverse of each orientation. 1, and values outside the standard, leave the picture as stored.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
ON_ITS_SIDE = frozenset({5, 6, 7, 8})  # the values that exchange height and width

# The tags of a TIFF that are EXIF: descriptions by its author, and the two tables. The others describe the layout of
# the pixels in that file.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 33432, 40091, 40092, 40093, 40094, 40095)
EXIF_TABLE, GPS_TABLE = 34665, 34853


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """An array, H×W or H×W×C, turned upright; a view."""
    return _UPRIGHT.get(orientation, lambda array: array)(stored)


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width of the upright picture."""
    return (width, height) if orientation in ON_ITS_SIDE else (height, width)


def exif_and_xmp(info: dict[Any, Any], notes: list[str]) -> tuple[bytes, bytes, int]:
    """EXIF and XMP with the orientation reset, and that orientation, from Pillow's `info` of a file."""
    orientation = 0
    exif = _raw_exif(info)
    if exif:
        try:
            exif, orientation = _reset(exif)
        except (struct.error, ValueError, IndexError):
            exif = b""
            notes.append("its EXIF is damaged and was left out")
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    found = _XMP_ORIENTATION.search(xmp)
    if found and not orientation:
        orientation = int(found[2])
    return exif, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp), orientation or 1


def exif_of_tiff(own: Image.Exif, notes: list[str]) -> bytes:
    """The EXIF part of a TIFF's tags, as EXIF bytes; call before Pillow loads the pixels."""
    try:
        tags = descriptive(own)
        return tags.tobytes() if len(tags) else b""
    except Exception:
        # Pillow raises arbitrary errors on damaged tags, and the tags are not needed
        notes.append("its EXIF is damaged and was left out")
        return b""


def descriptive(own: Image.Exif) -> Image.Exif:
    """The part of EXIF that may be copied to the tags of another TIFF."""
    tags = Image.Exif()
    for code in _DESCRIPTIVE:
        if code in own:
            tags[code] = own[code]
    for code in (EXIF_TABLE, GPS_TABLE):
        if table := dict(own.get_ifd(code)):
            tags.get_ifd(code).update(table)
            tags[code] = 0  # marks it as present; its offset is set when it is written
    return tags


def resolution(info: dict[Any, Any], orientation: int) -> tuple[float, float] | None:
    """Pixels per inch along width and height of the upright picture; None without two valid numbers."""
    try:
        across, down = (float(value) for value in info.get("dpi") or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < math.inf and 0 < down < math.inf):
        return None
    return (down, across) if orientation in ON_ITS_SIDE else (across, down)


def _raw_exif(info: dict[Any, Any]) -> bytes:
    raw = info.get("exif")
    if raw is None and "Raw profile type exif" in info:  # ImageMagick's convention from before PNG had a chunk for it
        digits = "".join(str(info["Raw profile type exif"]).split("\n")[3:])
        raw = bytes.fromhex(digits) if re.fullmatch("([0-9a-fA-F]{2})*", digits) else digits.encode()
    return bytes(raw or b"")


def _reset(exif: bytes) -> tuple[bytes, int]:
    """EXIF with its orientation, if any, patched to 1, and the old orientation (0 for none).

    Rewriting by a library would lose the thumbnail and the makers' notes, which hold offsets. Raises `ValueError` or
    `struct.error` for invalid EXIF.
    """
    body = bytearray(exif.removeprefix(_EXIF_START))
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    if order is None:
        raise ValueError("neither byte order")
    magic, table = struct.unpack_from(order + "HI", body, 2)
    (count,) = struct.unpack_from(order + "H", body, table)
    if magic != 42 or table + 2 + 12 * count > len(body):
        raise ValueError("no table of tags")
    orientation = 0
    for entry in range(table + 2, table + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", body, entry)
        if tag == _ORIENTATION_TAG and kind in _WHOLE_NUMBERS:
            (orientation,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], body, entry + 8)
            struct.pack_into(order + _WHOLE_NUMBERS[kind], body, entry + 8, 1)
    return _EXIF_START + bytes(body), orientation
