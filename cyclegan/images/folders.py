"""Listing of the pictures in a folder, by name, in the same order on every machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NoReturn

from cyclegan.errors import CycleganError, reason_of
from cyclegan.images.formats import EXTENSIONS, escaped


def is_image(name: str) -> bool:
    """True if a file name has the suffix of a readable format, in any letter case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def walk(
    root: str | os.PathLike[str],
    unlisted: Callable[[str, str, OSError], None],
    *,
    avoid: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[str, list[os.DirEntry[str]], list[str]]]:
    """Prefix, files and walked subfolders of `root` and of each folder below, in no fixed order.

    The prefix is relative to `root` and ends in a slash; that of `root` itself is "". For a folder that cannot be
    listed, `unlisted(prefix, path, error)` is called instead.

    Hidden files and folders are skipped. Links to folders are followed, except to a folder that contains the link.
    `avoid` is never entered. No file is opened, and only folders and links cost a system call.
    """
    status = os.stat(root)
    avoided = None if avoid is None else _folder_at(avoid)
    waiting = [(os.fspath(root), "", frozenset({(status.st_dev, status.st_ino)}))]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            with os.scandir(folder) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            unlisted(prefix, folder, error)
            continue
        files, folders = [], []
        for entry in entries:
            identity = _folder_at(entry)
            if identity is None:
                files.append(entry)
            elif identity not in above and identity != avoided:
                waiting.append((entry.path, f"{prefix}{entry.name}/", above | {identity}))
                folders.append(entry.name)
        yield prefix, files, folders


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The pictures below `root`, as relative paths with forward slashes, sorted by code point.

    Selected by name, see `walk`; pipes and other special files are left out. A broken link with the name of a picture
    is listed, so that reading it reports the fault. Raises `CycleganError` for a folder that cannot be listed.
    """
    return sorted(
        prefix + entry.name
        for prefix, files, _ in walk(root, _refuse)
        for entry in files
        if is_image(entry.name) and not _is_special(entry)
    )


def _refuse(prefix: str, folder: str, error: OSError) -> NoReturn:
    raise CycleganError(f"cannot list {escaped(folder)}: {reason_of(error).lower()}") from error


def _folder_at(place: str | os.PathLike[str] | os.DirEntry[str]) -> tuple[int, int] | None:
    """Device and inode of a folder, its identity under any name; None if it is not an existing folder."""
    try:
        if isinstance(place, os.DirEntry) and not place.is_dir():  # known from the listing, without a system call
            return None
        status = os.stat(place)
    except OSError:  # it does not exist, or is a link to itself
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _is_special(entry: os.DirEntry[str]) -> bool:
    """True for anything but a file or a broken link."""
    try:
        return not entry.is_file() and entry.stat() is not None
    except OSError:
        return False
