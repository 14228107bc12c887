"""Pictures of a run as data: URIs, small enough that a page with many of them opens at once."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from cyclegan.report.record import GALLERY, Record, mapping
from cyclegan.report.series import evenly

GRIDS = 40  # steps of which a page shows the grids
_LONGEST = 800  # pixels of the longer side of a grid in a page
# By the longer side: without loss where each pixel is seen; JPEG with all of its colour where a picture is enlarged to
# be shown; WebP, which halves the colour, where it is not. No difference from the original is seen on a screen.
_ENCODINGS: tuple[tuple[float, tuple[str, dict[str, Any]]], ...] = (
    (160, ("WEBP", {"lossless": True, "method": 4})),
    (640, ("JPEG", {"quality": 90, "subsampling": 0, "optimize": True})),
    (float("inf"), ("WEBP", {"quality": 78, "method": 4})),
)
_MARGIN = 2  # pixels between the pictures of a grid, as the trainer leaves them
_HEADINGS = ("real", "fake", "reconstructed", "identity")
_FORMATS = ("PNG",)  # which a run draws; Pillow would open PostScript too, by starting a program
_BOMB = 2**27  # pixels of a grid above which it is not opened


@dataclass(frozen=True)
class Embedded:
    """A picture in a page: its data: URI, and its size there."""

    uri: str
    width: int
    height: int


def embed(path: Path | None, longest: int = _LONGEST) -> Embedded | None:
    """The picture in `path`, scaled down to `longest` pixels; None where it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > _BOMB:
                return None
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
        return None
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    kind, settings = next(how for most, how in _ENCODINGS if max(image.size) <= most)
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    uri = f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()
    return Embedded(uri, image.width, image.height)


def shown_steps(record: Record, most: int = GRIDS) -> list[int]:
    """The steps of which grids are shown: up to `most`, evenly, the first and the last among them."""
    there = {step for grids in record.grids.values() for step in grids}
    return evenly(sorted(there), most)


def grid_frames(record: Record, most: int = GRIDS) -> list[dict[str, object]]:
    """The grids of those steps: `{"step", "a2b": Embedded, "b2a": Embedded}`, those that can be read."""
    frames = []
    for step in shown_steps(record, most):
        made = {name: embed(record.inside(grids[step])) for name, grids in record.grids.items() if step in grids}
        there = {name: picture for name, picture in made.items() if picture is not None}
        if there:
            frames.append({"step": step, **there})
    return frames


def newest_grid(record: Record, name: str) -> tuple[int, Embedded] | None:
    """The newest grid of a direction ("a2b") that can be read, and its step."""
    grids = record.grids.get(name, {})
    for step in sorted(grids, reverse=True)[:5]:
        picture = embed(record.inside(grids[step]))
        if picture is not None:
            return step, picture
    return None


def headings(record: Record, name: str) -> tuple[str, ...]:
    """What the columns of a direction's grids show; nothing where they cannot be told by the size of the grids."""
    grids = record.grids.get(name)
    path = record.inside(grids[max(grids)]) if grids else None
    side = record.config.get("crop_size")
    if path is None or not isinstance(side, int):
        return ()
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            across, rest = divmod(opened.width - _MARGIN, side + _MARGIN)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ()
    return _HEADINGS[:across] if not rest and across <= len(_HEADINGS) else ()


def gallery_entries(record: Record, way: str, longest: int = 256) -> list[dict[str, object]]:
    """The pictures of the gallery of one direction with what was written of each, those that can be read."""
    entries = []
    listed = record.gallery.get(way)
    for entry in listed if isinstance(listed, list) else []:
        about = mapping(entry)
        pictures = {
            role: embed(record.inside(f"{GALLERY}/{about[role]}"), longest)
            for role in ("source", "fake", "rec")
            if isinstance(about.get(role), str)
        }
        if pictures.get("source") and pictures.get("fake"):
            entries.append({**about, **{role: picture for role, picture in pictures.items() if picture}})
    return entries
