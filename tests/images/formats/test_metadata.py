import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclegan.images import ImageMetadata, Picture, decode_picture, encode_picture, read_header
from tests.images.kinds import COLOUR, HEIGHT, RGB, RGB16, WIDTH, cv, pil, tif
from tests.support.pictures import png_chunk, png_file

XMP = b"<x:xmpmeta><tiff:Orientation>1</tiff:Orientation><dc:title>a title</dc:title></x:xmpmeta>"


def exif(orientation: int | None = None) -> Image.Exif:
    tags = Image.Exif()
    tags[270] = "a description"
    if orientation is not None:
        tags[274] = orientation
    tags.get_ifd(34665)[0x9003] = "2024:01:02 03:04:05"
    tags.get_ifd(34665)[0x829A] = 0.01
    tags.get_ifd(34853)[1] = "N"
    return tags


DETAILS = ImageMetadata(exif=exif().tobytes(), xmp=XMP, tagged=True, dpi=(300.0, 150.0))


def tags_of(data: bytes) -> tuple[str, str, float, str]:
    own = Image.Exif()
    own.load(data)
    more = own.get_ifd(34665)
    return own[270], more[0x9003], float(more[0x829A]), own.get_ifd(34853)[1]


def only_description(data: bytes) -> bool:
    own = Image.Exif()
    own.load(data)
    return dict(own) == {270: "a description"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_what_a_format_has_room_for_goes_over(suffix: str, deep: bool) -> None:
    picture = Picture(RGB16 if deep else RGB, None, DETAILS)
    data = encode_picture(picture, suffix)
    made = decode_picture(data, "made").details
    if deep and suffix == ".tif":
        assert only_description(made.exif)
    else:
        assert tags_of(made.exif) == ("a description", "2024:01:02 03:04:05", pytest.approx(0.01), "N")
    assert made.xmp == XMP
    assert made.tagged
    assert made.notes == ()
    if suffix not in (".webp", ".avif"):  # which have no resolution of their own
        assert made.dpi == pytest.approx(DETAILS.dpi, rel=1e-2)
    assert encode_picture(picture, suffix) == data  # the same bytes on every day
    again = decode_picture(encode_picture(decode_picture(data, "made"), suffix), "again").details
    assert again == made


def as_tiff(array: np.ndarray, container: dict[str, object]) -> Picture:
    return decode_picture(encode_picture(Picture(array, None, replace(DETAILS, container=container)), ".tif"), "made")


@pytest.mark.parametrize(
    ("container", "arrays"),
    [
        ({"tile": (16, 16)}, [RGB, RGB16]),
        ({"byteorder": ">"}, [RGB, RGB16]),
        ({"planar": 2}, [RGB, RGB16]),
        ({"rows": 3, "compression": 1}, [RGB16]),
    ],
)
def test_tiffs_that_pillow_does_not_write_keep_the_description_alone(
    container: dict[str, object], arrays: list[np.ndarray]
) -> None:
    for array in arrays:
        made = as_tiff(array, container)
        assert only_description(made.details.exif)
        assert np.array_equal(made.pixels, array)
        assert {key: made.details.container[key] for key in container} == container


@pytest.mark.parametrize(
    "container", [{}, {"rows": 3, "compression": 1}, {"compression": 8, "predictor": 2, "rows": 4}]
)
def test_a_tiff_of_bytes_keeps_all_of_its_exif_and_is_not_compressed_then(container: dict[str, object]) -> None:
    made = as_tiff(RGB, container)
    assert tags_of(made.details.exif) == ("a description", "2024:01:02 03:04:05", pytest.approx(0.01), "N")
    assert np.array_equal(made.pixels, RGB)
    assert (made.details.container["compression"], made.details.container["predictor"]) == (1, 1)


def stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer does with each value, Exif 2.3 table 6, as the storing that it undoes."""
    ways = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }
    return np.ascontiguousarray(ways[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".png 16", ".webp", ".tif", ".tif 16", ".avif"])
def test_every_orientation_is_undone_once_and_not_told_again(suffix: str, orientation: int, tmp_path: Path) -> None:
    tags = exif(orientation)
    suffix, _, deep = suffix.partition(" ")
    if deep and suffix == ".tif":
        data = tif(stored(RGB16, orientation), photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    elif deep:
        bare = cv(stored(RGB16, orientation), ".png")
        data = bare[:33] + png_chunk(b"eXIf", tags.tobytes()[6:]) + bare[33:]
    else:
        format_ = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".avif": "AVIF"}[suffix]
        lossless = {"lossless": True} if suffix == ".webp" else {"quality": 98}
        data = pil(Image.fromarray(stored(RGB, orientation)), format_, exif=tags, dpi=(300, 150), **lossless)
    picture = decode_picture(data, "turned")
    expected = RGB16 if deep else RGB
    assert picture.pixels.shape == expected.shape
    tolerance = 40 if suffix in (".jpg", ".avif") else 0
    assert np.abs(picture.pixels.astype(int) - expected)[4::8, 4::8].max() <= tolerance
    (tmp_path / "turned").write_bytes(data)
    header = read_header(tmp_path / "turned")
    assert (header.height, header.width) == (HEIGHT, WIDTH)
    if suffix in (".jpg", ".png", ".tif") and not deep:
        turned = (300, 150) if orientation < 5 else (150, 300)
        assert picture.details.dpi == pytest.approx(turned, rel=1e-2)
    again = decode_picture(encode_picture(picture, suffix), "again")
    assert again.pixels.shape == expected.shape
    own = Image.Exif()
    own.load(again.details.exif)
    assert own.get(274, 1) == 1
    if not (deep and suffix == ".tif"):
        assert own[270] == "a description"


def test_an_orientation_in_xmp_is_undone_and_reset() -> None:
    for form in (b"<tiff:Orientation>6</tiff:Orientation>", b'<rdf tiff:Orientation="6"/>'):
        data = pil(COLOUR, "PNG", pnginfo=_text(form))
        picture = decode_picture(data, "turned")
        assert np.array_equal(picture.pixels, np.rot90(RGB, -1))
        assert picture.details.xmp == form.replace(b"6", b"1")
        assert decode_picture(encode_picture(picture, ".png"), "again").pixels.shape == picture.pixels.shape


def _text(xmp: bytes) -> object:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def test_makers_notes_and_thumbnails_survive_byte_for_byte() -> None:
    body = bytearray(exif(6).tobytes()) + b"a thumbnail that some offset points to"
    picture = decode_picture(pil(COLOUR, "JPEG", exif=bytes(body)), "photograph")
    kept = picture.details.exif
    assert len(kept) == len(body)
    assert sum(a != b for a, b in zip(kept, body, strict=True)) == 1  # the orientation
    assert decode_picture(encode_picture(picture, ".jpg"), "again").details.exif == kept


@pytest.mark.parametrize(
    "damage", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_is_a_note_and_not_an_error(damage: bytes, format_: str) -> None:
    if format_ == "PNG":
        rows = np.hstack([np.zeros((HEIGHT, 1), np.uint8), RGB.reshape(HEIGHT, -1)])
        data = png_file(WIDTH, HEIGHT, 8, 2, rows.tobytes(), (b"eXIf", damage[6:]))
    else:
        data = pil(COLOUR, format_, exif=damage, lossless=True)
    picture = decode_picture(data, "damaged")
    assert picture.details.exif == b""
    assert picture.details.notes == ("its EXIF is damaged and was left out",)
    assert picture.pixels.shape == RGB.shape


def test_broken_exif_in_a_tiff_is_no_error() -> None:
    for array, options in ((RGB, {}), (RGB16, {})):
        data = tif(array, photometric="rgb", extratags=[(34665, "I", 1, 0xFFFFFF, True)], **options)
        assert np.array_equal(decode_picture(data, "damaged").pixels, array)


PLACES = [
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 4e5, 5e6, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, 2, 0, "WGS 84|", True),
    (42112, 2, 0, "<GDALMetadata/>", True),
    (42113, 2, 0, "-9999", True),
]


@pytest.mark.parametrize("array", [RGB, RGB16], ids=["8", "16"])
def test_a_place_on_the_earth_is_kept(array: np.ndarray) -> None:
    data = tif(array, photometric="rgb", tile=(16, 16), extratags=PLACES)
    made = encode_picture(decode_picture(data, "map"), ".tif")
    with tifffile.TiffFile(io.BytesIO(data)) as before, tifffile.TiffFile(io.BytesIO(made)) as after:
        for code, *_ in PLACES:
            assert after.pages[0].tags[code].value == before.pages[0].tags[code].value
        assert after.pages[0].tile == (16, 16)


def test_a_place_is_left_out_of_a_picture_that_is_turned() -> None:
    data = tif(RGB16, photometric="rgb", extratags=[*PLACES, (274, 3, 1, 6, True)])
    picture = decode_picture(data, "map")
    assert picture.details.container["places"] == ()
    assert "its place on the earth was left out, because the picture was turned" in picture.details.notes


def test_pages_of_one_kind_are_kept_and_others_are_told() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for page in (RGB16, RGB16[::-1], RGB16[:8], RGB16[:, ::-1]):
            file.write(np.ascontiguousarray(page), photometric="rgb", metadata=None)
    picture = decode_picture(buffer.getvalue(), "document")
    assert len(picture.pages) == 2
    assert picture.details.notes == ("without 1 of its 4 pages, which are of another kind than the first",)
    again = decode_picture(encode_picture(picture, ".tif"), "again")
    for page, expected in zip((again, *again.pages), (RGB16, RGB16[::-1], RGB16[:, ::-1]), strict=True):
        assert np.array_equal(page.pixels, expected)


def test_pages_of_eight_bits_are_kept_too() -> None:
    data = pil(COLOUR, "TIFF", save_all=True, append_images=[COLOUR.rotate(180), COLOUR.resize((8, 8))])
    picture = decode_picture(data, "document")
    assert np.array_equal(picture.pages[0].pixels, RGB[::-1, ::-1])
    assert len(picture.pages) == 1
    again = decode_picture(encode_picture(picture, ".tif"), "again")
    assert np.array_equal(again.pages[0].pixels, RGB[::-1, ::-1])


@pytest.mark.parametrize("array", [RGB, RGB16], ids=["8", "16"])
def test_a_resolution_too_great_for_a_png_is_the_greatest_there_is(array: np.ndarray) -> None:
    data = encode_picture(Picture(array, None, ImageMetadata(dpi=(1e12, 72.0))), ".png")
    assert decode_picture(data, "fine").details.dpi == pytest.approx((5e7, 72.0), rel=1e-3)


def test_a_resolution_that_is_no_number_is_left_out() -> None:
    zero = [(282, 5, 1, (0, 0), True), (283, 5, 1, (1, 0), True), (296, 3, 1, 2, True)]
    for array in (RGB, RGB16):
        assert decode_picture(tif(array, photometric="rgb", extratags=zero, resolution=None), "odd").details.dpi is None
