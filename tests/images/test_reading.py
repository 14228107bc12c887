import io
import pickle
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cyclegan.images import UnreadableImage, decode_picture, escaped, read_image, rgb_array, stored_size
from tests.support.pictures import random_pixels

# Twelve flat blocks, so that neither JPEG nor chroma subsampling can confuse one with another.
BLOCKS = random_pixels(3, 4, seed=3)
PICTURE = np.kron(BLOCKS, np.ones((16, 16, 1), np.uint8))  # 48 × 64


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def read_content(data: bytes, name: str, **options: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        return read_image(Path(folder) / name, **options)


def decoded(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    return read_content(saved(image, kind, **options), "picture")


def png_16(grey: np.ndarray) -> bytes:
    return saved(Image.fromarray(grey.astype(np.uint16)), "PNG")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_a_lossless_file_gives_back_its_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(saved(Image.fromarray(PICTURE), kind))
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, PICTURE)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_file_gives_about_its_pixels(kind: str) -> None:
    pixels = decoded(Image.fromarray(PICTURE), kind, quality=95)
    assert np.abs(pixels[8::16, 8::16].astype(int) - BLOCKS).max() < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_black_and_white_and_grey_come_out_as_equal_channels(kind: str) -> None:
    grey = Image.fromarray(PICTURE).convert("L")
    assert np.array_equal(decoded(grey, kind), np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    bits = Image.fromarray(PICTURE).convert("1")
    assert np.array_equal(decoded(bits, kind)[..., 1] > 0, np.asarray(bits))


def test_sixteen_bit_grey_is_scaled_and_not_cut_off() -> None:
    grey = np.array([[0, 128, 129, 255, 257, 32768, 65278, 65535]])
    expected = np.rint(grey / 257).astype(np.uint8)  # 65535 / 255 = 257
    for data in (png_16(grey), saved(Image.fromarray(grey.astype(np.uint16)), "TIFF")):
        pixels = read_content(data, "deep")
        assert np.array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))
    pgm = b"P5 8 1 65535\n" + grey.astype(">u2").tobytes()
    assert np.array_equal(read_content(pgm, "deep")[..., 0], expected)


def test_grey_whose_white_is_unknown_is_refused_with_a_reason() -> None:
    for values in (np.array([[-1, 70000]], np.int32), np.array([[0.0, np.nan]], np.float32)):
        with pytest.raises(UnreadableImage, match="save it with 8 or 16 bits"):
            read_content(saved(Image.fromarray(values), "TIFF"), "odd")


def test_fractions_are_scaled_to_eight_bits() -> None:
    pixels = decoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF")
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    pixels = decoded(Image.fromarray(np.array([[0.0, 100.4, 255.0]], np.float32)), "TIFF")
    assert pixels[0, :, 0].tolist() == [0, 100, 255]


def test_colours_hidden_under_transparency_stay_hidden() -> None:
    hidden = np.zeros((2, 2, 4), np.uint8)
    hidden[..., 0] = 200  # red that nobody is to see
    hidden[0, 0, 3] = 255
    hidden[0, 1, 3] = 128
    pixels = decoded(Image.fromarray(hidden), "PNG")
    assert pixels[0, 0].tolist() == [200, 0, 0]
    assert np.abs(pixels[0, 1].astype(int) - [227, 127, 127]).max() <= 1
    assert (pixels[1] == 255).all()


def test_transparent_grey_and_palette_pixels_are_white() -> None:
    grey = Image.fromarray(np.array([[[9, 0], [9, 255]]], np.uint8))
    assert decoded(grey, "PNG").tolist() == [[[255] * 3, [9] * 3]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert decoded(palette, "PNG").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert decoded(palette, "PNG", transparency=0).tolist() == [[[255] * 3, [40, 50, 60]]]
    assert decoded(palette, "GIF", transparency=0).tolist() == [[[255] * 3, [40, 50, 60]]]
    assert decoded(palette, "PNG", transparency=b"\x00\xff").tolist() == [[[255] * 3, [40, 50, 60]]]


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    pixels = decoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(pixels[8::16, 8::16].astype(int) - BLOCKS).max() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_exif_orientations_are_undone(kind: str) -> None:
    # What a viewer does with each value, Exif 2.3 table 6, as the storing that it undoes
    storing = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }
    for value, stored in storing.items():
        exif = Image.Exif()
        exif[0x0112] = value
        options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
        pixels = decoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
        assert pixels.shape == PICTURE.shape, value
        assert np.abs(pixels[8::16, 8::16].astype(int) - BLOCKS).max() < 8, value


def test_an_orientation_that_does_not_exist_changes_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert np.array_equal(decoded(Image.fromarray(PICTURE), "PNG", exif=exif), PICTURE)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert (decoded(frames[0], "GIF", save_all=True, append_images=frames[1:]) == [255, 0, 0]).all()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_jpeg_is_unreadable_however_much_is_there(share: float) -> None:
    noise = random_pixels(64, 64)
    data = saved(Image.fromarray(noise), "JPEG")
    assert read_content(data, "whole").shape == (64, 64, 3)
    with pytest.raises(UnreadableImage, match=r"half\.jpg"):
        read_content(data[: int(len(data) * share)], "half.jpg")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF"])
def test_half_a_file_of_any_format_is_unreadable(kind: str) -> None:
    data = saved(Image.fromarray(random_pixels(64, 64)), kind)
    with pytest.raises(UnreadableImage):
        read_content(data[: len(data) // 2], "half")


def test_what_is_no_picture_says_so(tmp_path: Path) -> None:
    cases = {"text.jpg": (b"dear diary", "not a picture"), "empty.png": (b"", "the file is empty")}
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImage, match=f"{name}: {reason}"):
            read_image(tmp_path / name)
    with pytest.raises(UnreadableImage, match="no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage, match="is a directory"):
        read_image(tmp_path)


def test_formats_that_run_programs_or_hold_layers_are_not_opened() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    with pytest.raises(UnreadableImage, match="not a picture"):
        read_content(postscript, "drawing.jpg")


def test_a_picture_that_claims_to_be_enormous_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(UnreadableImage, match="million pixels"):
        read_content(b"P5 100000 100000 255\n", "bomb.pgm")


def test_the_error_survives_pickling_and_has_a_printable_name() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a\udcffb\n.jpg", "why")))
    assert str(error) == "cannot read a\\udcffb\\n.jpg: why"
    assert error.reason == "why"
    assert escaped("Zebra №1 – ä.jpg") == "Zebra №1 – ä.jpg"


def test_pillow_pictures_of_unusual_modes_are_converted() -> None:
    for mode in ("YCbCr", "HSV", "RGBX", "RGBa", "PA"):
        image = Image.fromarray(PICTURE)
        image = image.convert({"RGBa": "RGBA", "PA": "P"}.get(mode, mode)).convert(mode)
        assert rgb_array(image).shape == PICTURE.shape, mode


def landscape(height: int, width: int) -> np.ndarray:
    """Detail at all scales, as amplitudes falling with frequency, which photographs have too; and a hard edge."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    rng = np.random.default_rng(7)
    planes = []
    for _ in range(3):
        spectrum = np.exp(2j * np.pi * rng.random(frequency.shape)) / frequency
        plane = np.fft.irfft2(spectrum, (height, width))
        planes.append(128 + 45 * (plane - plane.mean()) / plane.std())
    pixels = np.stack(planes, axis=2)
    pixels[height // 3 : height // 2, width // 5 :] *= 0.4
    return np.clip(pixels, 0, 255).astype(np.uint8)


LANDSCAPE = landscape(768, 960)


@pytest.mark.parametrize(("at_least", "reduced"), [(128, 384), (64, 192), (33, 192), (32, 96), (10, 96)])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_jpeg_at_reduced_scale_differs_from_full_decoding_by_less_than_40_db(
    at_least: int, reduced: int, quality: int
) -> None:
    data = saved(Image.fromarray(LANDSCAPE), "JPEG", quality=quality)
    full, part = read_content(data, "full"), read_content(data, "part", at_least=at_least)
    assert part.shape == (reduced, reduced * 5 // 4, 3)
    assert decode_picture(data, "part", at_least=at_least).details.container["size"] == (768, 960)
    size = (at_least * 5 // 4, at_least)
    first, second = (cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) for pixels in (full, part))
    error = np.square(first.astype(float) - second).mean()
    assert 10 * np.log10(255**2 / error) >= 40


@pytest.mark.parametrize(("kind", "at_least"), [("JPEG", 129), ("JPEG", 768), ("PNG", 10), ("WEBP", 10), ("TIFF", 10)])
def test_other_formats_and_jpegs_that_are_not_far_larger_are_decoded_in_full(kind: str, at_least: int) -> None:
    data = saved(Image.fromarray(LANDSCAPE), kind)
    part = read_content(data, "part", at_least=at_least)
    assert np.array_equal(part, read_content(data, "full"))
    assert part.shape == (768, 960, 3)
    assert "size" not in decode_picture(data, "part", at_least=at_least).details.container


def test_a_jpeg_that_lies_on_its_side_is_upright_at_reduced_scale_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(LANDSCAPE), "JPEG", exif=exif)
    part = read_content(data, "part", at_least=64)
    assert part.shape == (240, 192, 3)
    assert decode_picture(data, "part", at_least=64).details.container["size"] == (960, 768)
    upright = cv2.resize(read_content(data, "full"), (192, 240), interpolation=cv2.INTER_AREA)
    assert np.abs(upright.astype(int) - part).mean() < 4


def test_half_a_jpeg_is_unreadable_at_reduced_scale_too() -> None:
    data = saved(Image.fromarray(LANDSCAPE), "JPEG")
    with pytest.raises(UnreadableImage, match="truncated"):
        read_content(data[: len(data) // 2], "half", at_least=64)


def test_the_stored_size_needs_no_more_than_the_header(tmp_path: Path) -> None:
    data = saved(Image.fromarray(LANDSCAPE), "JPEG")
    (tmp_path / "head.jpg").write_bytes(data[:1000])
    assert stored_size(tmp_path / "head.jpg") == (768, 960)
    (tmp_path / "text.jpg").write_text("dear diary")
    for name, reason in (("text.jpg", "not a picture"), ("gone.jpg", "no such file")):
        with pytest.raises(UnreadableImage, match=reason):
            stored_size(tmp_path / name)
