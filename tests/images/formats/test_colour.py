import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cyclegan.images import Picture, decode_picture, encode_picture
from tests.images.kinds import COLOUR, GREY, L16, RGB, RGB16, L, cv, pil, tif
from tests.support.pictures import png_chunk

# Primaries of Adobe RGB (1998) and of sRGB, adapted to D50 as a profile has them (columns X Y Z)
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
WHITE = (0.9642, 1.0, 0.8249)


def profile(primaries: tuple[tuple[float, ...], ...] | None, gamma: float) -> bytes:
    """A profile of version 2 by hand (ICC.1:2001): three primaries, or grey, and one gamma."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    words = b"by hand\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(words)) + words + bytes(79)
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"wtpt": xyz(WHITE),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {name + b"XYZ": xyz(primary) for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True)}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    start = 132 + 12 * len(tags)
    table, body = b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(WHITE)[8:]
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


WIDE = profile(ADOBE, 2.2)


def as_srgb(numbers: np.ndarray) -> np.ndarray:
    """Colours of WIDE, in [0, 1], in sRGB by the definitions, without a library."""
    linear = numbers**2.2 @ np.array(ADOBE) @ np.linalg.inv(np.array(SRGB))
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def with_profile(data: bytes, icc: bytes) -> bytes:
    return data[:33] + png_chunk(b"iCCP", b"by hand\0\0" + zlib.compress(icc)) + data[33:]


def test_colours_of_a_wide_profile_become_srgb() -> None:
    picture = decode_picture(pil(COLOUR, "PNG", icc_profile=WIDE), "wide")
    assert picture.details.tagged
    assert np.abs(picture.pixels - 255 * as_srgb(RGB / 255)).max() <= 1.5
    assert np.abs(picture.pixels.astype(int) - RGB).max() > 20  # it does matter
    source, target = ImageCms.ImageCmsProfile(__import__("io").BytesIO(WIDE)), ImageCms.createProfile("sRGB")
    assert np.array_equal(picture.pixels, np.asarray(ImageCms.profileToProfile(COLOUR, source, target)))


@pytest.mark.parametrize(
    "make", [lambda: with_profile(cv(RGB16, ".png"), WIDE), lambda: tif(RGB16, photometric="rgb", iccprofile=WIDE)]
)
def test_sixteen_bits_keep_their_depth_on_the_way_to_srgb(make) -> None:
    picture = decode_picture(make(), "wide")
    assert picture.pixels.dtype == np.uint16
    assert picture.details.tagged
    assert np.abs(picture.pixels - 65535 * as_srgb(RGB16 / 65535)).max() < 65535 * 0.004


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_what_is_written_says_that_it_is_srgb_and_is_then_left_alone(suffix: str) -> None:
    picture = decode_picture(pil(COLOUR, "PNG", icc_profile=WIDE), "wide")
    data = encode_picture(picture, suffix)
    again = decode_picture(data, "again")
    assert again.details.tagged
    assert again.details.notes == ()
    bare = decode_picture(encode_picture(Picture(picture.pixels), suffix), "bare")
    assert not bare.details.tagged
    assert np.array_equal(again.pixels, bare.pixels)


def test_pictures_in_srgb_are_not_touched_whoever_made_their_profile() -> None:
    for icc in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),):
        picture = decode_picture(pil(COLOUR, "PNG", icc_profile=icc), "plain")
        assert np.array_equal(picture.pixels, RGB)
        assert picture.details.tagged


def test_grey_has_profiles_of_its_own() -> None:
    linear = profile(None, 1.0)
    expected = np.where(L / 255 <= 0.0031308, L / 255 * 12.92, 1.055 * (L / 255) ** (1 / 2.4) - 0.055)
    picture = decode_picture(pil(GREY, "PNG", icc_profile=linear), "grey")
    assert picture.channels == 1
    assert np.abs(picture.pixels - 255 * expected).max() <= 1.5
    deep = decode_picture(tif(L16[:, :, 0], iccprofile=linear), "deep")
    expected = np.where(L16 / 65535 <= 0.0031308, L16 / 65535 * 12.92, 1.055 * (L16 / 65535) ** (1 / 2.4) - 0.055)
    assert np.abs(deep.pixels - 65535 * expected).max() <= 65535 * 0.004


@pytest.mark.parametrize(
    ("icc", "said"),
    [
        (WIDE[:150], "is damaged"),
        (b"nonsense", "is damaged"),
        (profile(None, 1.8), "is for other colours than the picture has"),
    ],
)
def test_a_profile_that_is_damaged_or_for_other_pictures_is_a_note(icc: bytes, said: str) -> None:
    for data in (
        pil(COLOUR, "JPEG", icc_profile=icc, quality=98, subsampling=0),
        tif(RGB16, photometric="rgb", iccprofile=icc),
    ):
        picture = decode_picture(data, "odd")
        assert picture.details.notes == (f"its colour profile {said} and was left out",)
        expected = (
            decode_picture(pil(COLOUR, "JPEG", quality=98, subsampling=0), "x").pixels
            if picture.pixels.dtype == np.uint8
            else RGB16
        )
        assert np.array_equal(picture.pixels, expected)


def test_numbers_that_are_no_colours_are_not_converted() -> None:
    floats = (RGB / 255).astype(np.float32)
    picture = decode_picture(tif(floats, photometric="rgb", iccprofile=WIDE), "floats")
    assert np.array_equal(picture.pixels, floats)
    assert not picture.details.tagged
    assert picture.details.notes == ("its colour profile was left out, because its numbers are float32",)


def test_transparency_is_not_converted() -> None:
    alpha = np.arange(RGB[:, :, 0].size, dtype=np.uint32).reshape(RGB.shape[:2]).astype(np.uint8)
    data = pil(Image.fromarray(np.dstack([RGB, alpha])), "PNG", icc_profile=WIDE)
    assert np.array_equal(decode_picture(data, "clear").alpha, alpha)
