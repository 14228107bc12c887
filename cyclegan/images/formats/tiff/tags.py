"""TIFF tags by name, and what both readers of TIFF have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cyclegan.images.picture import Picture

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 258, 259, 262, 277
ROWS, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT = 278, 284, 317, 322, 323, 338, 339
ORIENTATION, RESOLUTION, XMP = 274, 282, 700
# Georeference: scale, tie points, transformation, GeoTIFF keys, and GDAL's own tags
PLACES = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)


def document(pages: list[Picture], others: int) -> Picture:
    """The first page with the further ones; `others` is the number of pages left out."""
    first = pages[0]
    if others:
        note = f"without {others} of its {len(pages) + others} pages, which are of another kind than the first"
        first = replace(first, details=replace(first.details, notes=(*first.details.notes, note)))
    return replace(first, pages=tuple(pages[1:]))


def places(found: list[tuple[int, int, Any]], orientation: int, notes: list[str]) -> tuple[tuple[int, int, Any], ...]:
    """Georeference tags: number, type and value; none for a turned picture, for which they are not valid."""
    if found and orientation != 1:
        notes.append("its place on the earth was left out, because the picture was turned")
        return ()
    return tuple((code, kind, value if isinstance(value, tuple | str) else (value,)) for code, kind, value in found)
