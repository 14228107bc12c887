"""Pictures that Pillow decodes without loss: 8 bits, and deeper grey where it keeps the depth."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from cyclegan.images.formats import FORMATS
from cyclegan.images.formats.colour import is_damaged, to_srgb
from cyclegan.images.formats.metadata import exif_and_xmp, resolution, upright, upright_size
from cyclegan.images.formats.sources import ByteSource
from cyclegan.images.picture import Header, ImageMetadata, Picture, separated

# Least shorter side of a JPEG decoded at reduced scale, relative to the side that the caller needs. Detailed
# photographs, scaled on by area, then have a PSNR against full decoding of at least 41.4 dB at 1/2, 1/4 and 1/8
# (quality 75 to 95, chroma subsampled or not; 43 to 46 dB in the mean). At a margin of 2.5 it is 40.1 dB, at 1.5
# 34.6 dB: the second scaling is applied to pixels that are already averages.
_MARGIN = 3

_U8, _U16, _I32, _F32 = (np.dtype(name) for name in ("uint8", "uint16", "int32", "float32"))


@dataclass(frozen=True)
class _Mode:
    """Conversion of Pillow images of one mode to arrays."""

    channels: int  # without transparency
    dtype: np.dtype
    plain: str | None = None  # target mode without, and below with, transparency; None: values unchanged
    clear: str | None = None
    space: str = "RGB"  # colour space of a profile in such a file


_MODES: dict[str, _Mode] = {
    **dict.fromkeys(("1", "L"), _Mode(1, _U8, "L", "LA", "L")),
    **dict.fromkeys(("LA", "La"), _Mode(1, _U8, "LA", "LA", "L")),
    **dict.fromkeys(("P", "RGB"), _Mode(3, _U8, "RGB", "RGBA")),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), _Mode(3, _U8, "RGBA", "RGBA")),
    **dict.fromkeys(("RGBX", "YCbCr", "HSV", "LAB"), _Mode(3, _U8, "RGB", "RGB")),
    "CMYK": _Mode(3, _U8, "RGB", "RGB", "CMYK"),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _Mode(1, _U16, space="L")),
    "I": _Mode(1, _I32, space="L"),
    "F": _Mode(1, _F32, space="L"),
}


def open_image(source: ByteSource) -> Image.Image:
    """Open a file by Pillow, without decoding.

    The reader of the format is called directly, because `Image.open` has a process-wide limit on the number of pixels;
    ours is checked by `ByteSource.check_size`. Raises what Pillow raises.
    """
    if source.format not in Image.OPEN:
        Image.init()
    if source.format not in Image.OPEN:
        raise ValueError(f"this Pillow was built without {source.format}")
    source.stream.seek(0)
    factory = Image.OPEN[source.format][0]
    try:
        image: Image.Image = factory(source.stream, "")
    except (SyntaxError, IndexError, TypeError) as error:
        raise UnidentifiedImageError(str(error)) from error
    return image


def header(source: ByteSource) -> Header:
    """Header of the picture in a file. Raises what Pillow raises."""
    image = open_image(source)
    width, height = image.size
    *_, orientation = exif_and_xmp(image.info, [])
    return header_of(image, source.format, *upright_size(height, width, orientation))


def header_of(image: Image.Image, name: str, height: int, width: int, pages: int = 1) -> Header:
    """Header of a Pillow image whose size is known."""
    mode = _MODES[image.mode]
    dtype = _U16 if image.mode == "I" and name != "TIFF" else mode.dtype
    return Header(height, width, mode.channels, dtype, name, image.mode, pages)


def read(source: ByteSource, at_least: int | None, max_pixels: int | None) -> Picture:
    """Read the picture in a file. Raises what Pillow raises."""
    image = open_image(source)
    width, height = image.size
    source.check_size(height, width, 1, max_pixels)
    if at_least is not None:
        # Decode a large JPEG by its scaled inverse transform; a no-op for other formats
        image.draft(None, (_MARGIN * at_least, _MARGIN * at_least))
    image.load()  # Pillow's verify() lets a truncated JPEG pass; only decoding notices
    notes: list[str] = []
    exif, xmp, orientation = exif_and_xmp(image.info, notes)
    pixels, alpha, tagged = arrays(image, notes, whole_numbers=_U16)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames")
    details = ImageMetadata(
        format=source.format,
        mode=image.mode,
        exif=exif,
        xmp=xmp,
        tagged=tagged,
        dpi=resolution(image.info, orientation),
        container={} if image.size == (width, height) else {"size": upright_size(height, width, orientation)},
        notes=tuple(notes),
    )
    return turned(Picture(pixels, alpha, details), orientation)


def turned(picture: Picture, orientation: int) -> Picture:
    """Turn a picture of the given `orientation` upright."""
    pixels = np.ascontiguousarray(upright(picture.pixels, orientation))
    alpha = None if picture.alpha is None else np.ascontiguousarray(upright(picture.alpha, orientation))
    return Picture(pixels, alpha, picture.details)


def arrays(
    image: Image.Image, notes: list[str], *, whole_numbers: np.dtype = _I32
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Pixels H×W×C in sRGB, transparency H×W or None, and presence of a colour profile.

    `whole_numbers` is the type of mode I: 32 bits, or 16 in formats that have no more. Raises `ValueError` with a
    readable reason for unknown modes.
    """
    if image.mode not in _MODES:
        raise ValueError(f"of a kind that is not known ({image.mode})")
    mode = _MODES[image.mode]
    profile = image.info.get("icc_profile") or b""
    if mode.plain is None:
        pixels, alpha = np.array(image)[:, :, None], None
        if image.mode == "I":
            pixels = pixels.astype(whole_numbers)
    elif mode.space == "CMYK" and profile and not is_damaged(profile, "CMYK"):
        return to_srgb(np.array(image), profile, "CMYK", notes), None, True
    else:
        stored = np.array(image.convert(mode.clear if image.has_transparency_data else mode.plain))
        pixels, alpha = separated(stored.reshape(*stored.shape[:2], -1), mode.channels)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if profile and mode.space != "CMYK":
        pixels = to_srgb(pixels, profile, mode.space, notes)
    elif profile:
        notes.append("its colour profile is damaged and was left out")
    return pixels, alpha, bool(profile)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    """Encode a file; `OSError` or `ValueError` if the format cannot hold the picture."""
    assert name in FORMATS, name
    buffer = io.BytesIO()
    image.save(buffer, format=name, **options)
    return buffer.getvalue()
