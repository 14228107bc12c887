"""Tags of TIFF by name, and what of a TIFF goes over to its translation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cyclegan.images.picture import Picture

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 258, 259, 262, 277
ROWS, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT = 278, 284, 317, 322, 323, 338, 339
ORIENTATION, RESOLUTION, XMP = 274, 282, 700
# Where on the earth a picture is, and what GDAL adds: scale, tie points, transformation, GeoTIFF keys, and its own
PLACES = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)


def document(pages: list[Picture], others: int) -> Picture:
    """The first page with those that follow; `others` are of another kind, and left out."""
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
    """What of a TIFF only a TIFF can keep. A place on the earth is that of the picture as it was stored."""
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
