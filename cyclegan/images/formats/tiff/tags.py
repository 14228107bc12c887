"""TIFF tags by name, and the TIFF settings that are copied to a translation."""

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


def container(
    *,
    compression: int,
    predictor: int,
    planar: int,
    rows: int,
    tile: tuple[int, int] | None,
    byteorder: str,
    places: tuple[tuple[int, int, Any], ...],
    orientation: int,
    notes: list[str],
) -> dict[str, Any]:
    """Settings that only a TIFF can keep; a georeference is valid only for the unrotated picture."""
    if places and orientation != 1:
        notes.append("its place on the earth was left out, because the picture was turned")
        places = ()
    return {
        "compression": compression,
        "predictor": predictor,
        "planar": planar,
        "rows": rows,
        "tile": tile,
        "byteorder": byteorder,
        "places": places,
    }
