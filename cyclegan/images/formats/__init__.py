"""Table of formats, their detection by first bytes, and the errors of unreadable files."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError

# Name and suffixes of each readable format. Pillow knows some forty more, among them PostScript, which starts a
# program, and layered documents, which are not pictures: only these are tried.
FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
    "NPY": (".npy",),
}
EXTENSIONS: tuple[str, ...] = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))
FORMAT_OF: dict[str, str] = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}

# Pillow's own limit, above which it suspects a decompression bomb
DEFAULT_MAX_PIXELS = 357_913_940

# First bytes of each format: alternatives of offset and bytes
_BEGINNINGS: dict[str, tuple[tuple[int, bytes], ...]] = {
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "WEBP": ((8, b"WEBP"),),
    "BMP": ((0, b"BM"),),
    "TIFF": tuple((0, start) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "GIF": ((0, b"GIF87a"), (0, b"GIF89a")),
    "AVIF": ((4, b"ftypavif"), (4, b"ftypavis")),
    "JPEG2000": ((0, b"\xff\x4f\xff\x51"), (0, b"\0\0\0\x0cjP  \r\n\x87\n")),
    "NPY": ((0, b"\x93NUMPY"),),
    "PPM": tuple((0, b"P" + digit) for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
}
HEAD = 16  # bytes needed for detection

# The extra that installs an optional module
_EXTRAS = {"tifffile": "tiff", "imagecodecs": "tiff", "pyvips": "large"}


class UnreadableImage(CycleganError):
    """A file without a readable picture; `path` and `reason` tell which and why."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)  # both as arguments, so that it survives pickling between processes
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read {escaped(os.fspath(self.path))}: {self.reason}"


class MissingExtra(CycleganError):
    """An optional library is missing; the message names the extra that installs it."""

    def __init__(self, what: str, module: str) -> None:
        super().__init__(f'{what} needs {module}; pip install "cyclegan[{_EXTRAS[module]}]"')


def escaped(name: str) -> str:
    """`name` for any output: undecodable bytes, newlines and control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def format_of(head: bytes) -> str | None:
    """The format of a file by its first bytes `head` (16 or more), whatever its name."""
    known = _BEGINNINGS.items()
    return next((name for name, starts in known if any(head.startswith(s, offset) for offset, s in starts)), None)


def required(module: str, what: str) -> Any:
    """Import a module of an extra; `MissingExtra` says that `what` needs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(what, module) from error


def installed(module: str) -> bool:
    """True if a module of an extra can be imported."""
    try:
        import_module(module)
    except ImportError:
        return False
    return True
