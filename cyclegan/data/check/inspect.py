"""One picture looked at whole: what it is, and whether it can be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cyclegan.data.loading.regions import sampled_parts
from cyclegan.errors import reason_of
from cyclegan.images import Picture, UnreadableImage, decode_picture, read_header
from cyclegan.system.files import file_sha256, sha256

WHOLE = 2**30  # bytes decoded; of more, nine squares of the first page are looked at
_DEPTHS = {
    "bool": "1-bit",
    "uint8": "8-bit",
    "uint16": "16-bit",
    "int16": "16-bit signed",
    "uint32": "32-bit",
    "int32": "32-bit signed",
    "float16": "16-bit float",
    "float32": "32-bit float",
    "float64": "64-bit float",
}


@dataclass(frozen=True)
class Seen:
    """What is kept of a file once it has been decoded: a few hundred bytes."""

    folder: str
    name: str
    content: str  # SHA-256 of the file, "" where it cannot be opened
    pixels: str = ""  # SHA-256 of the size and the decoded pixels
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    depth: str = ""  # "8-bit", "16-bit", "32-bit float", …
    channels: int = 0  # without transparency
    numbers: tuple[float, float] | None = None  # the least and the greatest that is stored; None: none is finite
    not_finite: bool = False  # whether some numbers are none, or infinite
    grey: bool = False
    profile: bool = False  # a colour profile that is converted to sRGB
    transparent: bool = False  # in some pixel
    pages: int = 1
    notes: tuple[str, ...] = ()  # what is left out of it: "the first of 12 frames"
    reason: str = ""  # why it is unreadable


def look(work: tuple[Path, str]) -> Seen:
    """A picture, named by a folder and its name in it. An unreadable one is told by `reason`."""
    folder, name = work
    path = folder / name
    content = ""
    try:
        if _is_enormous(path):
            content = file_sha256(path)
            header, parts = read_header(path), list(sampled_parts(path))
            return _seen(str(folder), name, content, parts, header.height, header.width)
        data = path.read_bytes()
        content = sha256(data)
        picture = decode_picture(data, path)
    except UnreadableImage as error:
        return Seen(str(folder), name, content, reason=error.reason)
    except OSError as error:
        return Seen(str(folder), name, content, reason=reason_of(error).lower())
    return _seen(str(folder), name, content, [picture], picture.height, picture.width)


def _is_enormous(path: Path) -> bool:
    """Whether a picture takes too much memory decoded; one whose header cannot be read does not."""
    try:
        return read_header(path).nbytes > WHOLE
    except UnreadableImage:
        return False  # said when it is decoded, which also tells files that hold the same


def _seen(folder: str, name: str, content: str, parts: list[Picture], height: int, width: int) -> Seen:
    """What is known of a picture from some parts of it, which may be one and all."""
    first = parts[0]
    grey = all(_is_grey(part.pixels) for part in parts)
    transparent = any(part.alpha is not None and bool((part.alpha != _opaque(part.alpha)).any()) for part in parts)
    digest = hashlib.sha256(repr((height, width, 1 if grey else first.channels, str(first.pixels.dtype))).encode())
    spans = []
    for part in parts:
        numbers = np.ascontiguousarray(part.pixels[..., 0]) if grey else np.ascontiguousarray(part.pixels)
        digest.update(numbers.data)
        if transparent and part.alpha is not None:
            digest.update(np.ascontiguousarray(part.alpha).data)
        spans.append(_span(numbers))
    found = [span for span in spans if span is not None]
    return Seen(
        folder,
        name,
        content,
        pixels=digest.hexdigest(),
        width=width,
        height=height,
        format=first.details.format,
        mode=first.details.mode,
        depth=_DEPTHS.get(str(first.pixels.dtype), str(first.pixels.dtype)),
        channels=first.channels,
        numbers=(min(low for low, _, _ in found), max(high for _, high, _ in found)) if found else None,
        not_finite=len(found) < len(spans) or not all(finite for _, _, finite in found),
        grey=grey,
        profile=first.details.tagged,
        transparent=transparent,
        pages=1 + len(first.pages),
        notes=first.details.notes,
    )


def _is_grey(pixels: np.ndarray) -> bool:
    if pixels.shape[2] == 1:
        return True
    if pixels.shape[2] != 3:
        return False
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def _opaque(alpha: np.ndarray) -> float:
    return 1 if alpha.dtype.kind in "fb" else int(np.iinfo(alpha.dtype).max)


def _span(numbers: np.ndarray) -> tuple[float, float, bool] | None:
    """The least and the greatest number, and whether all are finite; None where none is."""
    low, high = numbers.min(), numbers.max()
    if numbers.dtype.kind != "f" or np.isfinite([low, high]).all():
        return float(low), float(high), True
    finite = numbers[np.isfinite(numbers)]
    return (float(finite.min()), float(finite.max()), False) if finite.size else None
