"""TIFF: kinds that Pillow keeps intact by Pillow, deeper or with more channels by tifffile."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cyclegan.images.formats import installed, pillow
from cyclegan.images.formats.metadata import exif_and_xmp, exif_of_tiff, resolution
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.formats.tiff import pages as tiff_pages
from cyclegan.images.formats.tiff import tags as tiff_tags
from cyclegan.images.formats.tiff.writing import encoded as encoded
from cyclegan.images.picture import Header, ImageMetadata, Picture

# Photometric interpretation, samples and extra samples that Pillow decodes correctly, up to 8 bits per sample
_PLAIN = {
    *((white, 1, ()) for white in (0, 1)),
    *((white, 2, (alpha,)) for white in (0, 1) for alpha in (1, 2)),
    (2, 3, ()),
    *((2, 4, (alpha,)) for alpha in (1, 2)),
    *((colours, samples, ()) for colours, samples in ((3, 1), (5, 4), (6, 3), (8, 3))),
}
# Pillow's mode, bits and sample format of deeper grey that it keeps
_DEEP = {("I;16", 12, 1), ("I;16", 16, 1), ("I;16B", 16, 1), ("I;16L", 16, 1), ("F", 32, 3)}


def header(source: ByteSource) -> Header:
    """Header of the picture in a file."""
    image = _by_pillow(source)
    if image is None:
        return tiff_pages.header(source)
    pages = len(_like_first(image))
    image.seek(0)
    # For a TIFF Pillow returns the size of the upright picture
    return pillow.header_of(image, "TIFF", image.height, image.width, pages)


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the first page of a file and the further pages that are like it."""
    image = _by_pillow(source)
    if image is None:
        return tiff_pages.read(source, max_pixels)
    numbers = _like_first(image)
    image.seek(0)
    source.check_size(image.height, image.width, len(numbers), max_pixels)
    pages: list[Picture] = []
    for number in numbers:
        image.seek(number)
        page = _page(image)
        if not pages or (page.kind == pages[0].kind and (page.alpha is None) == (pages[0].alpha is None)):
            pages.append(page)
    return tiff_tags.document(pages, getattr(image, "n_frames", 1) - len(pages))


def _by_pillow(source: ByteSource) -> Image.Image | None:
    """Open a file by Pillow; None if it would change the picture or cannot read it."""
    try:
        image = pillow.open_image(source)
    except UnidentifiedImageError:
        return None
    return None if not _kept(image) or _spoken_of(image) else image


def _spoken_of(image: Image.Image) -> bool:
    """True if Pillow would use libtiff, which prints on damage, and tifffile can decode it silently."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    common = tags.get(tiff_tags.PHOTOMETRIC) in (0, 1, 2) and set(tags.get(tiff_tags.BITS, (1,))) <= {8, 16, 32}
    compressed = tags.get(tiff_tags.COMPRESSION, 1) in (5, 8, 32773, 32946, 50000)
    return common and compressed and installed("tifffile") and installed("imagecodecs")


def _like_first(image: Image.Image) -> list[int]:
    """Numbers of the pages whose headers match the first."""
    image.seek(0)
    size, mode, turned = image.size, image.mode, _orientation(image)
    numbers = [0]
    for number in range(1, getattr(image, "n_frames", 1)):
        image.seek(number)
        if (image.size, image.mode, _orientation(image)) == (size, mode, turned) and _kept(image):
            numbers.append(number)
    return numbers


def _kept(image: Image.Image) -> bool:
    """True if Pillow decodes the current page without loss."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    samples = int(tags.get(tiff_tags.SAMPLES, 1))
    bits, formats = set(tags.get(tiff_tags.BITS, (1,))), set(tags.get(tiff_tags.FORMAT, (1,)))
    colours, extra = tags.get(tiff_tags.PHOTOMETRIC, 0), tuple(tags.get(tiff_tags.EXTRA, ()))
    if formats == {1} and max(bits) <= 8 and (colours, samples, extra) in _PLAIN:
        return True
    if (colours, samples, len(bits), len(formats)) != (1, 1, 1, 1):
        return False
    return (image.mode, *bits, *formats) in _DEEP


def _orientation(image: Image.Image) -> int:
    stated = int(image.getexif().get(tiff_tags.ORIENTATION, 0))
    return stated or exif_and_xmp({"xmp": image.info.get("xmp", b"")}, [])[2]


def _page(image: Image.Image) -> Picture:
    """The current page of `image`."""
    notes: list[str] = []
    mode = image.mode
    orientation = _orientation(image)  # before loading, which turns the picture and drops the tag
    exif = exif_of_tiff(image.getexif(), notes)
    _, xmp, _ = exif_and_xmp({"xmp": image.info.get("xmp", b"")}, [])
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    container = _container(tags, orientation, notes)
    # Pillow reports one pixel per inch if the file has no resolution
    dpi = resolution(image.info, orientation) if tiff_tags.RESOLUTION in tags else None
    image.load()
    pixels, alpha, tagged = pillow.arrays(image, notes)
    if tags.get(tiff_tags.PHOTOMETRIC) == 0 and pixels.dtype != np.uint8:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return Picture(pixels, alpha, ImageMetadata("TIFF", mode, exif, xmp, tagged, dpi, container, tuple(notes)))


def _container(tags: Any, orientation: int, notes: list[str]) -> dict[str, Any]:
    """Layout of the pixels in the file, and its georeference."""
    sides = (tags.get(tiff_tags.TILE_HEIGHT), tags.get(tiff_tags.TILE_WIDTH))
    places = [(code, int(tags.tagtype[code]), tags[code]) for code in tiff_tags.PLACES if code in tags]
    return {
        "compression": int(tags.get(tiff_tags.COMPRESSION, 1)),
        "predictor": int(tags.get(tiff_tags.PREDICTOR, 1)),
        "planar": int(tags.get(tiff_tags.PLANAR, 1)),
        "rows": int(tags.get(tiff_tags.ROWS, 0)),
        "tile": None if None in sides else (int(sides[0]), int(sides[1])),
        "byteorder": ">" if tags.prefix == b"MM" else "<",
        "places": tiff_tags.places(places, orientation, notes),
    }
