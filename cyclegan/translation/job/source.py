"""Listing of a SOURCE before any work: a picture, a folder, a list of names or an archive.

Only names are kept and the rest is derived on demand, so that a million pictures cost little memory.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.images import EXTENSIONS, escaped, is_image, walk
from cyclegan.translation.job.archive import members, refuse_compressed
from cyclegan.translation.job.naming import cleaned
from cyclegan.translation.jobs import Failure

LISTS = (".txt", ".lst", ".list")
STDIN = "-"


@dataclass
class Listing:
    """Pictures of a source by number; unusable entries are in `bad`, with name and reason."""

    names: list[str]  # relative to the source; unique except in lists and archives
    place: Callable[[int], tuple[str, tuple[int, int] | None]]  # of its file: absolute path, and its span within
    bad: list[tuple[str, Failure]] = field(default_factory=list)
    distinct: bool = False  # names are unique by construction


def list_source(source: str, dest: Path) -> Listing:
    """List `source`, excluding what lies below the output folder `dest`.

    Raises `UsageError` for an unusable source, `CycleganError` for an unreadable one.
    """
    if source == STDIN:
        return _list_names(sys.stdin.buffer.read(), dest)
    if os.path.isdir(source):
        listing = _list_folder(os.path.abspath(source), dest)
    elif not os.path.exists(source):
        raise UsageError(f"SOURCE: there is no {escaped(source)}; name a picture or a folder of pictures")
    else:
        listing = _BY_SUFFIX.get(os.path.splitext(source)[1].lower(), _list_one)(source, dest)
    if not listing.names and not listing.bad:
        raise UsageError(f"SOURCE: there is no picture in {escaped(source)}; read are {' '.join(EXTENSIONS)}")
    return listing


def is_single(source: str) -> bool:
    """Return whether `source` is a single picture."""
    suffix = os.path.splitext(source)[1].lower()
    return source != STDIN and not os.path.isdir(source) and suffix not in _BY_SUFFIX


def _list_one(source: str, dest: Path) -> Listing:
    refuse_compressed(source)
    path = os.path.abspath(source)
    return Listing([os.path.basename(path)], lambda number: (path, None), distinct=True)


def _list_archive(source: str, dest: Path) -> Listing:
    path = os.path.abspath(source)
    offsets, sizes = array("q"), array("q")
    listing = Listing([], lambda number: (path, (offsets[number], sizes[number])))
    for member in members(path):
        if not member.is_picture:
            continue
        if (failure := member.failure()) is not None:
            listing.bad.append((member.raw, failure))
            continue
        listing.names.append(member.name)
        offsets.append(member.span[0])
        sizes.append(member.span[1])
    return listing


def _list_file(source: str, dest: Path) -> Listing:
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise CycleganError(f"SOURCE: cannot read {escaped(source)} ({reason_of(error).lower()})") from error
    return _list_names(data, dest)


def _list_names(data: bytes, dest: Path) -> Listing:
    """List names, one a line, or NUL-separated if there is any NUL; relative to the working directory."""
    here, below = os.getcwd(), os.path.abspath(dest) + "/"
    places: dict[str, None] = {}  # ordered and unique
    listing = Listing([], lambda number: (given[number], None))
    for line in data.split(b"\0" if b"\0" in data else b"\n"):
        if not line:
            continue
        raw = os.fsdecode(line)
        try:
            name = cleaned(raw, absolute=True)
        except ValueError as error:
            listing.bad.append((raw, Failure("ValueError", str(error))))
            continue
        place = f"/{name}" if raw.startswith("/") else os.path.join(here, name)
        if place not in places and not place.startswith(below):
            places[place] = None
            listing.names.append(name)
    given = list(places)
    if not (listing.names or listing.bad):
        raise UsageError("SOURCE: the list names no picture; give one name a line")
    return listing


_BY_SUFFIX: dict[str, Callable[[str, Path], Listing]] = {".tar": _list_archive, **dict.fromkeys(LISTS, _list_file)}


def _list_folder(root: str, dest: Path) -> Listing:
    """List the pictures below `root`, sorted by code point.

    Names alone decide, no file is opened, see `walk`. `dest` is not entered. Anything else with the name of a picture
    is listed too, so that reading it reports the error: a dangling link, a FIFO, a folder without pictures.
    """
    listing = Listing([], lambda number: (os.path.join(root, listing.names[number]), None), distinct=True)

    def unlisted(prefix: str, folder: str, error: OSError) -> None:
        reason = reason_of(error).lower()
        if not prefix:
            raise CycleganError(f"SOURCE: cannot list {escaped(folder)} ({reason})") from error
        listing.bad.append((prefix, Failure(type(error).__name__, f"cannot list it ({reason})")))

    for prefix, files, folders in walk(root, unlisted, avoid=dest):
        pictures = [prefix + entry.name for entry in files if is_image(entry.name)]
        listing.names += pictures
        if not (pictures or folders) and is_image(prefix[:-1]):
            listing.names.append(prefix[:-1])
    listing.names.sort()
    return listing
