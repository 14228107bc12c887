"""What is wrong with folders of pictures, found before a day of training finds it: everything is decoded once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclegan.errors import UsageError
from cyclegan.files import sha256
from cyclegan.images import EXTENSIONS, UnreadableImage, decode_image, list_images, printable

PARTS = ("trainA", "trainB", "testA", "testB")  # of a folder laid out as a data set


@dataclass(frozen=True)
class Spread:
    """The smallest, middle and largest of some numbers."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class FolderReport:
    """What one folder holds. Names are relative to it."""

    path: str
    pictures: int
    width: Spread | None  # in pixels, of what could be read, upright; None where nothing could
    height: Spread | None
    formats: dict[str, int]
    modes: dict[str, int]  # as stored: "RGB", "L", "CMYK", …
    grey: list[str]  # no colour in any pixel, however stored: often a stray among colour photographs
    unreadable: list[tuple[str, str]]  # name, reason
    small: list[tuple[str, int, int]]  # name, width, height


@dataclass(frozen=True)
class Duplicate:
    """The same picture in several places, each a folder and a name."""

    places: list[tuple[str, str]]
    same: str  # "file", or "pixels" where the files differ

    @property
    def folders(self) -> list[str]:
        """The folders it lies in, each once, in the order they were given."""
        return list(dict.fromkeys(folder for folder, _ in self.places))


@dataclass(frozen=True)
class Report:
    """The result of `check_folders`; `problems` are sentences, empty where all is well."""

    min_size: int
    folders: list[FolderReport]
    duplicates: list[Duplicate]
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as what `json.dumps` takes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Picture:
    """What is kept of a file once it has been decoded: a few hundred bytes."""

    folder: str
    name: str
    content: str  # SHA-256 of the file, "" where it cannot be opened
    pixels: str = ""  # SHA-256 of the size and the decoded pixels
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    grey: bool = False
    reason: str = ""  # why it is unreadable


def check_folders(
    dirs: Sequence[Path], min_size: int = 64, *, advance: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Decode every picture below `dirs` and report; a folder with trainA or trainB in it stands for its four parts.

    Duplicates are found by content: equal files, and equal pixels in different files. Pictures with a side below
    `min_size` are reported. `advance` is called with the number of pictures done and their total. Memory: the
    pictures in work, one per processor, and some hundred bytes for each. Raises `UsageError` for what is no folder.
    """
    folders = _expand(dirs)
    work = [(folder, name) for folder in folders for name in list_images(folder)]
    seen: list[_Picture] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and hashing both let go of the interpreter lock
        for picture in pool.map(_look, work):
            seen.append(picture)
            advance(len(seen), len(work))
    reports = [_summarise(str(folder), [p for p in seen if p.folder == str(folder)], min_size) for folder in folders]
    duplicates = _duplicates(seen)
    return Report(min_size, reports, duplicates, list(_problems(reports, duplicates, min_size)))


def _expand(dirs: Iterable[Path]) -> list[Path]:
    folders: list[Path] = []
    for path in dirs:
        if not path.is_dir():
            what = (
                "is a file; name the folder it is in" if path.exists() else "does not exist; name a folder of pictures"
            )
            raise UsageError(f"DIR: {path} {what}")
        parts = [path / part for part in PARTS if (path / part).is_dir()]
        folders += parts if {"trainA", "trainB"} & {part.name for part in parts} else [path]
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def _look(work: tuple[Path, str]) -> _Picture:
    folder, name = work
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Picture(str(folder), name, "", reason=(error.strerror or str(error)).lower())
    content = sha256(data)
    try:
        decoded = decode_image(data, path)
    except UnreadableImage as error:
        return _Picture(str(folder), name, content, reason=error.reason)
    pixels = decoded.pixels
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    height, width = pixels.shape[:2]
    return _Picture(str(folder), name, content, digest.hexdigest(), width, height, decoded.format, decoded.mode, grey)


def _summarise(path: str, pictures: list[_Picture], min_size: int) -> FolderReport:
    readable = [picture for picture in pictures if not picture.reason]
    return FolderReport(
        path=path,
        pictures=len(pictures),
        width=_spread([picture.width for picture in readable]),
        height=_spread([picture.height for picture in readable]),
        formats=dict(Counter(picture.format for picture in readable).most_common()),
        modes=dict(Counter(picture.mode for picture in readable).most_common()),
        grey=[picture.name for picture in readable if picture.grey],
        unreadable=[(picture.name, picture.reason) for picture in pictures if picture.reason],
        small=[(p.name, p.width, p.height) for p in readable if min(p.width, p.height) < min_size],
    )


def _spread(numbers: list[int]) -> Spread | None:
    return Spread(min(numbers), statistics.median(numbers), max(numbers)) if numbers else None


def _duplicates(pictures: list[_Picture]) -> list[Duplicate]:
    groups: dict[str, list[_Picture]] = {}
    for picture in pictures:
        key = picture.pixels or picture.content  # equal files have equal pixels; of unreadable ones only the file
        if key:
            groups.setdefault(key, []).append(picture)
    return [
        Duplicate(
            [(picture.folder, picture.name) for picture in group],
            "file" if len({picture.content for picture in group}) == 1 else "pixels",
        )
        for group in groups.values()
        if len(group) > 1
    ]


def _problems(reports: list[FolderReport], duplicates: list[Duplicate], min_size: int) -> Iterable[str]:
    for report in reports:
        shown = printable(report.path)
        if not report.pictures:
            yield f"{shown} holds no picture; the formats read are {' '.join(EXTENSIONS)}"
        if report.unreadable:
            yield f"{shown}: {_count(len(report.unreadable), 'picture')} cannot be read; mend or remove"
        if report.small:
            yield f"{shown}: {_count(len(report.small), 'picture')} with a side below {min_size} pixels, to be enlarged"
    where = Counter(tuple(duplicate.folders) for duplicate in duplicates)
    for folders, count in where.items():
        names = [printable(folder) for folder in folders]
        place = f"twice or more in {names[0]}" if len(names) == 1 else f"in each of {', '.join(names)}"
        yield f"{_count(count, 'picture')} {place}; keep one of each"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
