"""What a SOURCE holds, found once and before any work: a picture, a folder, a list of names, or an archive.

Names are kept and the rest is made of them when it is asked for, so that a million pictures cost little memory.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import EXTENSIONS, escaped, is_image, walk
from cyclegan.translation.job.archive import members, refuse_compressed
from cyclegan.translation.job.naming import cleaned
from cyclegan.translation.jobs import Failure

LISTS = (".txt", ".lst", ".list")
STDIN = "-"

Span = tuple[int, int]


@dataclass
class Listing:
    """The pictures of a source by number; what cannot be one is in `bad`, with its name and why."""

    names: list[str]  # relative to the source, unlike each other unless a list or an archive has it otherwise
    place: Callable[[int], tuple[str, Span | None]]  # the file that holds it, absolute, and where in the file
    bad: list[tuple[str, Failure]] = field(default_factory=list)
    distinct: bool = False  # whether no two names are equal, by the way they were found


def list_source(source: str, dest: Path) -> Listing:
    """What `source` holds, without what lies below `dest`, the folder that the translations go to.

    Raises `UsageError` for a source that cannot be meant, `CycleganError` for one that cannot be read.
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
    """Whether `source` is one picture and not several."""
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
        offsets.append(member.data)
        sizes.append(member.size)
    return listing


def _list_file(source: str, dest: Path) -> Listing:
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CycleganError(f"SOURCE: cannot read {escaped(source)} ({reason})") from error
    return _list_names(data, dest)


def _list_names(data: bytes, dest: Path) -> Listing:
    """The names in a list, one a line, or up to a NUL where it has any; relative ones are below where we are."""
    here, below = os.getcwd(), os.path.abspath(dest) + "/"
    places: dict[str, None] = {}  # in their order, each once
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
    """The pictures below `root`, sorted by code point: names alone decide, and nothing is opened, see `walk`.

    Nothing leads into `dest`. What is no file but has the name of a picture is listed, so that reading it says what is
    wrong: a link to nowhere, a FIFO, a folder that holds nothing to translate.
    """
    listing = Listing([], lambda number: (os.path.join(root, listing.names[number]), None), distinct=True)

    def unlisted(prefix: str, folder: str, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
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
