"""One picture in every mode, depth and format, each file made by another library than the writer under test."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.support.pictures import png_file

HEIGHT, WIDTH = 24, 40


def blocks(dtype: str, channels: int, seed: int = 0) -> np.ndarray:
    """HWC numbers all over what `dtype` holds, in flat blocks of 8 × 8 pixels."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    shape = (HEIGHT // 8, WIDTH // 8, channels)
    if kind.kind == "f":
        small = rng.normal(size=shape).astype(kind)
    elif kind.kind == "b":
        small = rng.random(shape) < 0.5
    else:
        limits = np.iinfo(kind)
        small = rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    return np.repeat(np.repeat(small, 8, 0), 8, 1)


def mask(dtype: str) -> np.ndarray:
    """HW transparency: all, half and nothing to be seen."""
    whole = 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)
    alpha = np.full((HEIGHT, WIDTH), whole)
    alpha[:8], alpha[8:16, 8:] = 0, whole // 2 if whole > 1 else 0.5
    return alpha.astype(dtype)


@dataclass(frozen=True)
class Kind:
    """A file, and what is to be read from it."""

    name: str
    suffix: str
    data: bytes
    pixels: np.ndarray  # HWC
    alpha: np.ndarray | None = None
    exact: bool = True

    def __repr__(self) -> str:
        return self.name


def pil(image: Image.Image, format_: str, **options: object) -> bytes:
    """A file by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()


def tif(array: np.ndarray, **options: object) -> bytes:
    """A file by tifffile."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def cv(array: np.ndarray, suffix: str) -> bytes:
    """A file by OpenCV, from red, green, blue (and transparency)."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[array.shape[2]]
    return cv2.imencode(suffix, np.ascontiguousarray(array[:, :, order]))[1].tobytes()


def npy(array: np.ndarray) -> bytes:
    """An array file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


L, RGB, A = blocks("uint8", 1), blocks("uint8", 3, 1), mask("uint8")
L16, RGB16, A16 = blocks("uint16", 1, 2), blocks("uint16", 3, 3), mask("uint16")
F1, F3 = blocks("float32", 1, 4), blocks("float32", 3, 5)
GREY, COLOUR = Image.fromarray(L[:, :, 0]), Image.fromarray(RGB)
GREY_A, COLOUR_A = Image.fromarray(np.dstack([L, A])), Image.fromarray(np.dstack([RGB, A]))
BITS = L > 127
PALETTE = COLOUR.quantize(64)
OF_PALETTE = np.array(PALETTE.convert("RGB"))


def _png() -> list[Kind]:
    clear = np.full((HEIGHT, WIDTH), 255, np.uint8)
    clear[np.asarray(PALETTE) == 3] = 0
    key = tuple(int(value) for value in RGB[0, 0])
    keyed = np.where((RGB[0, 0] == RGB).all(2), 0, 255).astype(np.uint8)
    keyed_16 = np.where((RGB16[0, 0] == RGB16).all(2), 0, 65535).astype(np.uint16)
    rows = np.hstack([np.zeros((HEIGHT, 1), np.uint8), RGB16.astype(">u2").view(np.uint8).reshape(HEIGHT, -1)])
    rgb_key = png_file(WIDTH, HEIGHT, 16, 2, rows.tobytes(), (b"tRNS", RGB16[0, 0].astype(">u2").tobytes()))
    two = np.hstack([np.zeros((HEIGHT, 1), np.uint8), (L[:, ::4, 0] >> 6 << 6) | (L[:, 1::4, 0] >> 6 << 4)])
    two[:, 1:] |= (L[:, 2::4, 0] >> 6 << 2) | (L[:, 3::4, 0] >> 6)
    grey_a = imagecodecs.png_encode(np.dstack([L16, A16]))
    return [
        Kind("png-1", ".png", pil(Image.fromarray(BITS[:, :, 0]), "PNG"), BITS * np.uint8(255)),
        Kind(
            "png-2-bit", ".png", png_file(WIDTH, HEIGHT, 2, 0, two.astype(np.uint8).tobytes()), L // 64 * np.uint8(85)
        ),
        Kind("png-L", ".png", pil(GREY, "PNG"), L),
        Kind("png-LA", ".png", pil(GREY_A, "PNG"), L, A),
        Kind("png-P", ".png", pil(PALETTE, "PNG"), OF_PALETTE),
        Kind("png-P-tRNS", ".png", pil(PALETTE, "PNG", transparency=3), OF_PALETTE, clear),
        Kind("png-RGB", ".png", pil(COLOUR, "PNG"), RGB),
        Kind("png-RGB-tRNS", ".png", pil(COLOUR, "PNG", transparency=key), RGB, keyed),
        Kind("png-RGBA", ".png", pil(COLOUR_A, "PNG"), RGB, A),
        Kind("png-16-L", ".png", cv(L16, ".png"), L16),
        Kind("png-16-LA", ".png", grey_a, L16, A16),
        Kind("png-16-RGB", ".png", cv(RGB16, ".png"), RGB16),
        Kind("png-16-RGB-tRNS", ".png", rgb_key, RGB16, keyed_16),
        Kind("png-16-RGBA", ".png", cv(np.dstack([RGB16, A16]), ".png"), RGB16, A16),
        Kind("apng", ".apng", pil(COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(180)]), RGB),
    ]


def _photographs() -> list[Kind]:
    ink = np.dstack([RGB, np.full_like(L, 255)])  # as Adobe stores it, all ink inverted
    ycck = imagecodecs.jpeg8_encode(ink, level=98, colorspace="CMYK", outcolorspace="YCCK")
    two = {"save_all": True, "append_images": [COLOUR], "quality": 98, "subsampling": 0}
    return [
        Kind("jpeg-L", ".jpg", pil(GREY, "JPEG", quality=98), L, exact=False),
        Kind("jpeg-RGB", ".jpg", pil(COLOUR, "JPEG", quality=98, subsampling=0), RGB, exact=False),
        Kind("jpeg-CMYK", ".jpg", pil(COLOUR.convert("CMYK"), "JPEG", quality=98), RGB, exact=False),
        Kind("jpeg-YCCK", ".jpg", ycck, RGB, exact=False),
        Kind("mpo", ".jpg", pil(COLOUR, "MPO", **two), RGB, exact=False),
        Kind("webp-RGB", ".webp", pil(COLOUR, "WEBP", lossless=True), RGB),
        Kind("webp-RGBA", ".webp", pil(COLOUR_A, "WEBP", lossless=True, exact=True), RGB, A),
        Kind("avif-RGB", ".avif", pil(COLOUR, "AVIF", quality=95, subsampling="4:4:4"), RGB, exact=False),
        Kind("jp2-L", ".jp2", pil(GREY, "JPEG2000"), L),
        Kind("jp2-RGB", ".jp2", pil(COLOUR, "JPEG2000"), RGB),
        Kind("jp2-RGBA", ".jp2", pil(COLOUR_A, "JPEG2000"), RGB, A),
        Kind("j2k-16-L", ".j2k", pil(Image.fromarray(L16[:, :, 0]), "JPEG2000", no_jp2=True), L16),
        Kind("jp2-16-RGB", ".jp2", imagecodecs.jpeg2k_encode(RGB16, codecformat="jp2", reversible=True), RGB16),
    ]


def _simple() -> list[Kind]:
    ppm_16 = b"P6\n# made by hand\n%d %d\n65535\n" % (WIDTH, HEIGHT) + RGB16.astype(">u2").tobytes()
    pgm_16 = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + L16.astype(">u2").tobytes()
    white = 1023
    small = RGB16 >> 6
    ten = b"P6 %d %d %d\n" % (WIDTH, HEIGHT, white) + small.astype(">u2").tobytes()
    plain = b"P3 %d %d 65535\n" % (WIDTH, HEIGHT) + b" ".join(b"%d" % value for value in RGB16.reshape(-1))
    return [
        Kind("bmp-L", ".bmp", pil(GREY, "BMP"), L),
        Kind("bmp-P", ".bmp", pil(PALETTE, "BMP"), OF_PALETTE),
        Kind("bmp-RGB", ".bmp", pil(COLOUR, "BMP"), RGB),
        Kind("pbm", ".pnm", pil(Image.fromarray(BITS[:, :, 0]), "PPM"), BITS * np.uint8(255)),
        Kind("pgm", ".pgm", pil(GREY, "PPM"), L),
        Kind("ppm", ".ppm", pil(COLOUR, "PPM"), RGB),
        Kind("pgm-16", ".pgm", pgm_16, L16),
        Kind("ppm-16", ".ppm", ppm_16, RGB16),
        Kind("ppm-16-text", ".ppm", plain, RGB16),
        Kind("ppm-10-bit", ".ppm", ten, np.rint(small * (65535 / white)).astype(np.uint16)),
        Kind("gif", ".gif", pil(PALETTE, "GIF"), OF_PALETTE),
        Kind("gif-frames", ".gif", pil(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)]), OF_PALETTE),
    ]


def _tiff() -> list[Kind]:
    five, i16, f64 = blocks("uint8", 5, 6), blocks("int16", 1, 7), blocks("float64", 1, 8)
    rgb = {"photometric": "rgb"}
    tile = {"tile": (16, 16)}
    one = tif(RGB, **rgb, tile=(16, 16), compression="jpeg", compressionargs={"level": 98}, subsampling=(1, 1))
    grey = {"photometric": "minisblack"}
    alpha = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    ycbcr = pil(COLOUR, "TIFF", compression="jpeg", quality=98)
    lab = pil(COLOUR.convert("LAB"), "TIFF")
    kinds = [
        Kind("tiff-1", ".tif", pil(Image.fromarray(BITS[:, :, 0]), "TIFF", compression="group4"), BITS * np.uint8(255)),
        Kind("tiff-P", ".tif", pil(PALETTE, "TIFF"), OF_PALETTE),
        Kind("tiff-CMYK", ".tif", pil(COLOUR.convert("CMYK"), "TIFF"), RGB),
        Kind("tiff-YCbCr-jpeg", ".tif", ycbcr, RGB, exact=False),
        Kind("tiff-LAB", ".tif", lab, np.array(COLOUR.convert("LAB").convert("RGB"))),
        Kind("tiff-white-is-0", ".tif", tif(255 - L[:, :, 0], photometric="miniswhite"), L),
        Kind("tiff-16-white-is-0", ".tif", tif(65535 - L16[:, :, 0], photometric="miniswhite"), L16),
        Kind("tiff-LA", ".tif", tif(np.dstack([L, A]), **grey, **alpha), L, A),
        Kind("tiff-RGBA", ".tif", tif(np.dstack([RGB, A]), **rgb, **alpha), RGB, A),
        Kind("tiff-RGB+1", ".tif", tif(np.dstack([RGB, L]), **rgb, extrasamples=["unspecified"]), np.dstack([RGB, L])),
        Kind("tiff-5", ".tif", tif(five, **grey, planarconfig="contig"), five),
        Kind("tiff-5-planes", ".tif", tif(np.moveaxis(five, 2, 0).copy(), **grey, planarconfig="separate"), five),
        Kind("tiff-RGB-planes", ".tif", tif(np.moveaxis(RGB, 2, 0).copy(), **rgb, planarconfig="separate"), RGB),
        Kind("tiff-16-L", ".tif", tif(L16[:, :, 0]), L16),
        Kind("tiff-16-L-big-endian", ".tif", tif(L16[:, :, 0], byteorder=">"), L16),
        Kind("tiff-16-RGB", ".tif", tif(RGB16, **rgb), RGB16),
        Kind("tiff-16-RGB-big-endian", ".tif", tif(RGB16.astype(">u2"), **rgb, byteorder=">"), RGB16),
        Kind("tiff-16-RGBA", ".tif", tif(np.dstack([RGB16, A16]), **rgb, **alpha), RGB16, A16),
        Kind("tiff-16-LA", ".tif", tif(np.dstack([L16, A16]), **grey, **alpha), L16, A16),
        Kind("tiff-i16", ".tif", tif(i16[:, :, 0]), i16),
        Kind("tiff-f32", ".tif", tif(F1[:, :, 0]), F1),
        Kind("tiff-f32-RGB", ".tif", tif(F3, **rgb), F3),
        Kind("tiff-f64", ".tif", tif(f64[:, :, 0]), f64),
        Kind("tiff-f32-predictor", ".tif", tif(F3, **rgb, compression="zlib", predictor=3), F3),
        Kind("tiff-jpeg-tiles", ".tif", one, RGB, exact=False),
        Kind("tiff-bigtiff", ".tif", tif(RGB16, **rgb, bigtiff=True), RGB16),
    ]
    for compression in ("lzw", "zlib", "zstd", "packbits", None):
        for name, options in (("strips", {"rowsperstrip": 5}), ("tiles", tile)):
            for depth, array in (("8", RGB), ("16", RGB16)):
                predictor = {"predictor": 2} if compression in ("lzw", "zlib") else {}
                data = tif(array, **rgb, **options, compression=compression, **predictor)
                kinds.append(Kind(f"tiff-{depth}-{compression}-{name}", ".tif", data, array))
    return kinds


def _arrays() -> list[Kind]:
    kinds = []
    for dtype in ("bool", "uint8", "uint16", "int16", "float32", "float64"):
        for channels in (1, 3, 5):
            array = blocks(dtype, channels, channels)
            kinds.append(Kind(f"npy-{dtype}-{channels}", ".npy", npy(array), array))
        kinds.append(Kind(f"npy-{dtype}-flat", ".npy", npy(array[:, :, 0]), array[:, :, :1]))
    big = blocks("uint16", 3, 9)
    kinds.append(Kind("npy-big-endian", ".npy", npy(big.astype(">u2")), big))
    kinds.append(Kind("npy-fortran", ".npy", npy(np.asfortranarray(big)), big))
    return kinds


_TABLES: tuple[Callable[[], list[Kind]], ...] = (_png, _photographs, _simple, _tiff, _arrays)
KINDS = [kind for table in _TABLES for kind in table()]
