"""Which pictures a folder holds, by name, in an order that is the same on every machine."""

from __future__ import annotations

import os
import stat

from cyclegan.errors import CycleganError
from cyclegan.images.formats import EXTENSIONS, escaped

_Identity = tuple[int, int]  # device and inode: what a folder is, whatever it is called


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of a format we read, in any letter case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The pictures below `root`, as relative paths with forward slashes, sorted by code point.

    Names alone decide: nothing is opened. Hidden files and folders are skipped; links to folders are followed,
    except into a folder that the link stands in. A link to nowhere with the name of a picture is listed, so
    that reading it says what is wrong. Raises `CycleganError` for a folder that cannot be listed.
    """
    found: list[str] = []
    status = os.stat(root)
    waiting = [(os.fspath(root), "", frozenset({(status.st_dev, status.st_ino)}))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for name, path, identity in _entries(folder):
            if identity is None:
                if is_image(name):
                    found.append(prefix + name)
            elif identity not in above:
                waiting.append((path, f"{prefix}{name}/", above | {identity}))
    return sorted(found)


def _entries(folder: str) -> list[tuple[str, str, _Identity | None]]:
    """Name, path and, for a folder, identity of what `folder` holds; no hidden or special files."""
    entries: list[tuple[str, str, _Identity | None]] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat()
                except OSError:  # a link to nowhere or to itself: listed by name, explained when read
                    entries.append((entry.name, entry.path, None))
                    continue
                if stat.S_ISDIR(status.st_mode):
                    entries.append((entry.name, entry.path, (status.st_dev, status.st_ino)))
                elif stat.S_ISREG(status.st_mode):
                    entries.append((entry.name, entry.path, None))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CycleganError(f"cannot list {escaped(folder)}: {reason}") from error
    return entries
