import contextlib
import os
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.errors import CycleganError
from cyclegan.images import (
    MissingExtra,
    Picture,
    UnreadableImage,
    decode_picture,
    encode_picture,
    formats,
    open_regions,
    read_header,
    read_picture,
)
from tests.images.kinds import KINDS, RGB, RGB16, A, blocks, cv, npy, pil, tif
from tests.support.pictures import png_file, random_pixels
from tests.support.programs import run_python

NOISE = random_pixels(64, 64)
NOISE_16 = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
WHOLE = {
    "png": pil(Image.fromarray(NOISE), "PNG"),
    "png 16": cv(NOISE_16, ".png"),
    "jpeg": pil(Image.fromarray(NOISE), "JPEG"),
    "webp": pil(Image.fromarray(NOISE), "WEBP"),
    "avif": pil(Image.fromarray(NOISE), "AVIF"),
    "bmp": pil(Image.fromarray(NOISE), "BMP"),
    "ppm": pil(Image.fromarray(NOISE), "PPM"),
    "ppm 16": b"P6 64 64 65535\n" + NOISE_16.astype(">u2").tobytes(),
    "tiff": pil(Image.fromarray(NOISE), "TIFF"),
    "tiff lzw": pil(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
    "tiff 16": tif(NOISE_16, photometric="rgb"),
    "tiff 16 zlib": tif(NOISE_16, photometric="rgb", compression="zlib", tile=(32, 32)),
    "npy": npy(NOISE_16),
}


@pytest.mark.parametrize("percent", [0, 10, 50, 99])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_short_is_unreadable_and_silent(
    name: str, percent: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(WHOLE[name])
    assert read_picture(path).pixels.shape == (64, 64, 3)
    path.write_bytes(WHOLE[name][: len(WHOLE[name]) * percent // 100])
    with pytest.raises(UnreadableImage, match=r"cut\.png") as caught:
        read_picture(path)
    assert caught.value.reason
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["png", "png 16"])
def test_a_png_with_a_wrong_checksum_is_unreadable(name: str) -> None:
    for kind in (b"IHDR", b"IDAT"):
        data = bytearray(WHOLE[name])
        start = data.index(kind)
        (length,) = struct.unpack(">I", data[start - 4 : start])
        data[start + 4 + length] ^= 1
        with pytest.raises(UnreadableImage, match=f"the checksum of its {kind.decode()} chunk is wrong"):
            decode_picture(bytes(data), "damaged.png")


@pytest.mark.parametrize("name", WHOLE)
def test_flipped_bits_never_raise_anything_else(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        data = bytearray(WHOLE[name])
        for place in rng.integers(4, min(len(data), 400), 3):
            data[place] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(UnreadableImage):  # many flips do no harm
            decode_picture(bytes(data), "flipped", max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for read in (read_picture, read_header, open_regions):
            for name, reason in (
                ("pipe", "a pipe, a socket"),
                ("socket", "a pipe, a socket"),
                ("folder", "is a directory"),
            ):
                with pytest.raises(UnreadableImage, match=f"{name}.png: {reason}"):
                    read(tmp_path / f"{name}.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(WHOLE["png"])
    (tmp_path / "mine.png").chmod(0)
    with pytest.raises(UnreadableImage, match="permission denied"):
        read_picture(tmp_path / "mine.png")


@pytest.mark.parametrize("shape", [(1, 1), (1, 65535), (65535, 1)])
def test_very_small_and_very_long_pictures_are_pictures(shape: tuple[int, int]) -> None:
    for dtype in ("uint8", "uint16"):
        array = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=dtype)
        for suffix in (".png", ".tif", ".npy", ".ppm"):
            picture = decode_picture(encode_picture(Picture(array), suffix), "odd")
            assert np.array_equal(picture.pixels, array), suffix


BOMBS = {
    "png": png_file(60000, 60000, 8, 2, b""),
    "png 16": png_file(60000, 60000, 16, 2, b""),
    "ppm": b"P6 60000 60000 255\n",
    "ppm 16": b"P6 60000 60000 65535\n",
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 60000, 60000, 0, 0, 0)
    + b",\0\0\0\0"
    + struct.pack("<HHB", 60000, 60000, 0)
    + b"\2\0;",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_that_claims_to_be_enormous_is_refused_with_the_option(name: str) -> None:
    with pytest.raises(
        UnreadableImage, match=r"60000×60000 pixels are more than 358 million pixels; allow more by --max-pixels"
    ):
        decode_picture(BOMBS[name], "bomb")


@pytest.mark.parametrize(
    "kind",
    [
        k
        for k in KINDS
        if k.name in ("png-L", "png-16-RGB", "jpeg-RGB", "tiff-16-RGB", "tiff-P", "npy-uint16-5", "ppm-16", "gif")
    ],
    ids=repr,
)
def test_the_bound_on_pixels_is_the_users(kind, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(kind.data)
    for read in (read_picture, read_header):
        read(tmp_path / "picture", max_pixels=960)
        with pytest.raises(UnreadableImage, match="40×24 pixels are more than 959 pixels; allow more by --max-pixels"):
            read(tmp_path / "picture", max_pixels=959)


def bomb_of(kind: bytes, start: bytes, megabytes: int) -> bytes:
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(bytes(2**20)) for _ in range(megabytes)) + squeeze.flush()
    rows = np.hstack([np.zeros((24, 1), np.uint8), RGB.reshape(24, -1)])
    return png_file(40, 24, 8, 2, rows.tobytes(), (kind, start + body))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start"), [(b"zTXt", b"Comment\0\0"), (b"iCCP", b"profile\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")]
)
def test_chunks_that_swell_take_no_memory(kind: bytes, start: bytes, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb_of(kind, start, 400))
    code = """
import re, sys
from cyclegan.images import UnreadableImage, read_picture
try:
    read_picture(sys.argv[1])
except UnreadableImage as error:
    print(error.reason)
# Not getrusage, which counts what this process shared with the tests before it became another program
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""
    done = run_python(code, tmp_path / "bomb.png")
    *reason, peak = done.stdout.splitlines()
    assert "Decompressed" in "".join(reason)
    assert int(peak) < 200_000, "kilobytes"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 4, 5)), "an array of 4 dimensions, 2×3×4×5; save each picture"),
        (np.zeros(7), "an array of 1 dimensions"),
        (np.zeros((0, 4)), "no pixels"),
        (np.zeros((4, 4), complex), "an array of complex128"),
        (np.array([[{}]]), "an array of object"),
        (np.zeros((3, 64, 64)), "channels first; save it as height × width × channels"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_in_words(array: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_picture(npy(array), "odd.npy")


@pytest.mark.parametrize(
    ("data", "module", "extra"),
    [
        (tif(RGB16, photometric="rgb"), "tifffile", "tiff"),
        (next(kind.data for kind in KINDS if kind.name == "jp2-16-RGB"), "imagecodecs", "tiff"),
    ],
    ids=["tiff", "jp2"],
)
def test_a_missing_extra_is_named(data: bytes, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnreadableImage, match=rf'needs {module}; pip install "cyclegan\[{extra}\]"'):
        decode_picture(data, "deep")


def test_without_the_extra_plain_tiffs_go_in_and_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tifffile", "imagecodecs", "pyvips"):
        monkeypatch.setitem(sys.modules, module, None)
    for array in (RGB, RGB[:, :, :1], RGB16[:, :, :1], blocks("float32", 1)):
        picture = decode_picture(encode_picture(Picture(array), ".tif"), "plain")
        assert np.array_equal(picture.pixels, array)
    with pytest.raises(MissingExtra, match=r'pip install "cyclegan\[tiff\]"'):
        encode_picture(Picture(RGB16), ".tif")
    assert not formats.installed("pyvips")


@pytest.mark.parametrize(
    ("array", "suffix", "words"),
    [
        (blocks("float32", 3), ".png", "PNG holds 8 or 16 bits, not float32; write it as .tif or .npy"),
        (blocks("int16", 1), ".jpg", "JPEG holds 8 bits, not int16; write it as .tif or .npy"),
        (blocks("uint8", 5), ".png", "PNG holds 1 or 3 channels, not 5; write it as .tif or .npy"),
        (blocks("bool", 1), ".tif", "TIFF is not written from numbers of type bool; write it as .npy"),
    ],
)
def test_what_a_format_cannot_hold_is_one_sentence_with_the_way_out(array: np.ndarray, suffix: str, words: str) -> None:
    with pytest.raises(CycleganError, match=words):
        encode_picture(Picture(array), suffix)


def test_sixteen_bits_are_scaled_for_formats_of_eight() -> None:
    made = decode_picture(encode_picture(Picture(RGB16), ".bmp"), "eight")
    assert np.array_equal(made.pixels, np.rint(RGB16 / 257).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".bmp", ".ppm"])
def test_transparency_is_laid_over_white_where_there_is_none(suffix: str) -> None:
    made = decode_picture(encode_picture(Picture(RGB, A), suffix), "opaque")
    assert made.alpha is None
    share = A[:, :, None] / 255
    assert np.abs(made.pixels - (RGB * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize(("rows", "reason"), [(20, "truncated"), (30, "more pixels than it says")])
def test_sixteen_bit_pixels_that_are_too_few_or_too_many_are_seen_behind_right_checksums(
    rows: int, reason: str
) -> None:
    data = png_file(40, 24, 16, 2, bytes(rows * (1 + 40 * 6)))
    with pytest.raises(UnreadableImage, match=reason):
        decode_picture(data, "odd.png")
