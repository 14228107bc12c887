"""Table of formats, their detection by first bytes, and the errors of unreadable files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, UsageError


@dataclass(frozen=True)
class Format:
    """A picture format: its detection, its module, and the pictures that it holds."""

    suffixes: tuple[str, ...]
    starts: tuple[tuple[int, bytes], ...]  # first bytes: alternatives of offset and bytes
    module: str = "pillow"  # in this folder, with `header`, `read` and, unless Pillow writes the format, `encoded`
    deep: bool = False  # 16 bits per channel
    alpha: bool = True
    everything: bool = False  # any number of channels, any type, many pages


# Pillow knows some forty more, among them PostScript, which starts a program, and layered documents, which are not
# pictures: only these are tried.
FORMATS: dict[str, Format] = {
    "PNG": Format((".png", ".apng"), ((0, b"\x89PNG\r\n\x1a\n"),), "png", deep=True),
    "JPEG": Format((".jpg", ".jpeg", ".jfif"), ((0, b"\xff\xd8\xff"),), alpha=False),
    "WEBP": Format((".webp",), ((8, b"WEBP"),)),
    "BMP": Format((".bmp",), ((0, b"BM"),), alpha=False),
    "PPM": Format(
        (".ppm", ".pgm", ".pnm"), tuple((0, b"P%c" % digit) for digit in b"123456f"), "pnm", deep=True, alpha=False
    ),
    "TIFF": Format(
        (".tif", ".tiff"),
        tuple((0, start) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        "tiff",
        everything=True,
    ),
    "GIF": Format((".gif",), ((0, b"GIF87a"), (0, b"GIF89a"))),
    "AVIF": Format((".avif",), ((4, b"ftypavif"), (4, b"ftypavis"))),
    "JPEG2000": Format(
        (".jp2", ".j2k"), ((0, b"\xff\x4f\xff\x51"), (0, b"\0\0\0\x0cjP  \r\n\x87\n")), "jpeg2000", deep=True
    ),
    "NPY": Format((".npy",), ((0, b"\x93NUMPY"),), "npy", everything=True),
}
EXTENSIONS: tuple[str, ...] = tuple(sorted(suffix for known in FORMATS.values() for suffix in known.suffixes))

# Pillow's own limit, above which it suspects a decompression bomb
DEFAULT_MAX_PIXELS = 357_913_940

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
    for name, known in FORMATS.items():
        if any(head.startswith(start, offset) for offset, start in known.starts):
            return name
    return None


def format_for(suffix: str) -> str:
    """The format of a suffix; `UsageError` for an unknown one."""
    for name, known in FORMATS.items():
        if suffix.lower() in known.suffixes:
            return name
    raise UsageError(f"no format is known for the suffix {suffix!r}; use one of {' '.join(EXTENSIONS)}")


def module_of(name: str) -> Any:
    """The module of a format."""
    return import_module(f"{__name__}.{FORMATS[name].module}")


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
