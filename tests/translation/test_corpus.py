"""Files that are broken in every way there is, among good ones, through the real command."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan.images import read_image
from cyclegan.translation import Translator, jobs, translate_folder
from tests.models.examples import generators_file
from tests.support.pictures import png_file, random_pixels
from tests.support.programs import run_python
from tests.support.run_files import read_rows
from tests.translation.examples import Negative, files, fp32, picture, record

PIXELS = random_pixels(24, 32)
GOOD = 12
SECONDS = 100  # after which a command hangs
MEMORY = 1500 * 2**20  # bytes that the process may have held at most: bombs would take far more


def _encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def _zeros(size: int) -> bytes:
    """`size` zero bytes compressed, without ever having them in one piece."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*pieces, packer.flush()])


def _wrong_sum() -> bytes:
    data = bytearray(_encoded("PNG"))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    return bytes(data)


def _cut(kind: str, share: float) -> bytes:
    data = _encoded(kind)
    return data[: int(len(data) * share)]


def _npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    text = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


_GREY = b"\0" * (5 * 4)  # five rows of three grey pixels, each after the number of its filter
# Name -> content; none of them is a picture that can be translated
BAD: dict[str, Callable[[], bytes]] = {
    **{f"cut-{kind}-{share}.{kind}": lambda kind=kind, share=share: _cut(kind.upper(), share / 100)  # type: ignore[misc]
       for kind in ("png", "jpeg", "tiff", "webp", "gif", "bmp") for share in (0, 10, 50)},
    "cut-png-99.png": lambda: _encoded("PNG")[:-40],
    "cut-jpeg-99.jpeg": lambda: _cut("JPEG", 0.9),
    "sum.png": _wrong_sum,
    "text.png": lambda: b"this is no picture\n" * 20,
    "zeros.jpg": lambda: bytes(5000),
    "bomb.png": lambda: png_file(60_000, 60_000, 8, 0, bytes(1000)),
    "numbers.npy": lambda: _npy_header("<f8", (99_999_999_999, 9)),
    "code.npy": lambda: _npy_header("|O", (8, 8)) + b"cos\nsystem\n(S'true'\ntR.",
    "script.eps.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}  # fmt: skip
# These are odd and none the less pictures, or are allowed to be a failure: but they must not bring anything down
ODD: dict[str, Callable[[], bytes]] = {
    "one.png": lambda: png_file(1, 1, 8, 0, b"\0\x80"),
    "iccp-bomb.png": lambda: png_file(3, 5, 8, 0, _GREY, (b"iCCP", b"x\0\0" + _zeros(2**31))),
    "ztxt-bomb.png": lambda: png_file(3, 5, 8, 0, _GREY, (b"zTXt", b"x\0\0" + _zeros(2**31))),
    "exif.png": lambda: png_file(3, 5, 8, 0, _GREY, (b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "exif.jpg": lambda: _encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40),
    "icc.jpg": lambda: _encoded("JPEG", icc_profile=b"no profile" * 30),
    "icc.png": lambda: _encoded("PNG", icc_profile=b"\0" * 200),
}


def _special(folder: Path) -> list[str]:
    """What is no file at all."""
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "nowhere.png").symlink_to(folder / "missing")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket may be short only
        bound.bind("socket.png")
        os.chdir(here)
    return ["folder.png", "fifo.png", "nowhere.png", "loop.png", "socket.png"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for number in range(GOOD):
        picture(folder / f"good-{number}.png", (24, 32), number)
    for name, content in (BAD | ODD).items():
        (folder / name).write_bytes(content())
    _special(folder)
    return folder


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


@pytest.mark.slow
def test_every_good_picture_is_translated_and_every_bad_one_listed(tmp_path: Path, corpus: Path) -> None:
    model = generators_file(tmp_path / "model.safetensors")
    code = (
        "import re, sys\nfrom cyclegan.cli import cli\n"
        "try: cli(sys.argv[1:])\n"
        # Not ru_maxrss, which counts what the process of the tests held when it started this one
        "finally: print(1024 * int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]))"
    )
    words = ["translate", str(model), str(corpus), str(tmp_path / "out"), "--device", "cpu", "--precision", "fp32"]
    done = run_python(code, *words, check=False, timeout=SECONDS, preexec_fn=_limited)
    assert done.returncode == 3, done.stderr
    failed = {row["path"]: row for row in read_rows(tmp_path / "out/.cyclegan/failed.jsonl")}
    bad = {*BAD, "folder.png", "fifo.png", "nowhere.png", "loop.png", "socket.png"}
    assert bad - failed.keys() == set()
    assert failed.keys() - bad <= ODD.keys()
    assert all(row["error"] and row["reason"] for row in failed.values())
    made = files(tmp_path / "out")
    assert sorted([*made, *failed]) == sorted(
        [*BAD, *ODD, *(bad - BAD.keys()), *(f"good-{n}.png" for n in range(GOOD))]
    )
    expected = Translator.load(model, device="cpu", precision="fp32")
    for number in range(GOOD):
        before, after = (read_image(place / f"good-{number}.png") for place in (corpus, tmp_path / "out"))
        assert np.abs(after.astype(int) - expected(before)).max() <= 1  # in company the last digit may differ
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert int(done.stdout.splitlines()[-1]) < MEMORY
    assert record(tmp_path / "out") == ["failed.jsonl", "job.json", "lock", "manifest.jsonl"]


def test_a_picture_of_one_pixel_and_one_of_one_row_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.png").write_bytes(png_file(1, 1, 8, 0, b"\0\x80"))
    (tmp_path / "in/row.png").write_bytes(png_file(65535, 1, 8, 0, b"\0" + bytes(range(255)) * 257))
    summary = translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.failed) == (2, [])
    with Image.open(tmp_path / "out/row.png") as made:
        assert made.size == (65535, 1)


def test_what_vanishes_between_listing_and_reading_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        picture(tmp_path / f"in/{number}.png")
    read = jobs.read_header

    def vanishing(path: str, **options: object) -> object:
        if path.endswith("1.png"):
            os.unlink(path)
        return read(path)

    monkeypatch.setattr(jobs, "read_header", vanishing)
    summary = translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.failed) == (2, [("1.png", "no such file or directory")])
    row = json.loads((tmp_path / "out/.cyclegan/failed.jsonl").read_text())
    assert row["error"] == "UnreadableImage"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_picture_without_permission_is_a_failure(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/b.png")
    (tmp_path / "in/a.png").chmod(0)
    summary = translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out")
    assert (summary.translated, summary.failed) == (1, [("a.png", "permission denied")])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pictures_above_the_bound_are_not_decoded(tmp_path: Path, share: float) -> None:
    from cyclegan.translation.jobs import PictureIO
    from cyclegan.translation.runners import TranslationSettings

    picture(tmp_path / "in/a.png", (100, 100))
    settings = TranslationSettings(PictureIO(max_pixels=int(100 * 100 * share)))
    summary = translate_folder(fp32(Negative()), tmp_path / "in", tmp_path / "out", settings=settings)
    assert "--max-pixels" in summary.failed[0][1]
