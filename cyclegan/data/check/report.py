"""What is wrong with folders of pictures, found before a day of training finds it: everything is decoded once."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclegan.data.check.inspect import Seen, look
from cyclegan.errors import UsageError
from cyclegan.images import EXTENSIONS, escaped, list_images

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
    depths: dict[str, int]  # of a stored number: "8-bit", "16-bit", "32-bit float", …
    channels: dict[int, int]  # without transparency
    ranges: dict[str, tuple[float, float]]  # for each depth the least and the greatest stored number
    not_finite: list[str]  # names of those with numbers that are none, or infinite
    profiles: int  # pictures with a colour profile; they are converted to sRGB
    transparent: int  # pictures that are not opaque everywhere
    pages: dict[int, int]  # how many pages, and how many documents have so many; empty without documents
    notes: list[tuple[str, str]]  # name, and what is left out of it: "the first of 12 frames"
    mixes: list[str]  # sentences on what training does with pictures of several kinds
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
    seen: list[Seen] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and hashing both let go of the interpreter lock
        for picture in pool.map(look, work):
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


def _summarise(path: str, pictures: list[Seen], min_size: int) -> FolderReport:
    readable = [picture for picture in pictures if not picture.reason]
    return FolderReport(
        path=path,
        pictures=len(pictures),
        width=_spread([picture.width for picture in readable]),
        height=_spread([picture.height for picture in readable]),
        formats=dict(Counter(picture.format for picture in readable).most_common()),
        modes=dict(Counter(picture.mode for picture in readable).most_common()),
        depths=dict(Counter(picture.depth for picture in readable).most_common()),
        channels=dict(Counter(picture.channels for picture in readable).most_common()),
        ranges=_ranges(readable),
        not_finite=[picture.name for picture in readable if picture.not_finite],
        profiles=sum(picture.profile for picture in readable),
        transparent=sum(picture.transparent for picture in readable),
        pages=dict(Counter(picture.pages for picture in readable if picture.pages > 1).most_common()),
        notes=[(picture.name, note) for picture in readable for note in picture.notes],
        mixes=list(_mixes(readable)),
        grey=[picture.name for picture in readable if picture.grey],
        unreadable=[(picture.name, picture.reason) for picture in pictures if picture.reason],
        small=[(p.name, p.width, p.height) for p in readable if min(p.width, p.height) < min_size],
    )


def _spread(numbers: list[int]) -> Spread | None:
    return Spread(min(numbers), statistics.median(numbers), max(numbers)) if numbers else None


def _ranges(pictures: list[Seen]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for picture in pictures:
        if picture.numbers is not None:
            (low, high), before = picture.numbers, found.get(picture.depth, picture.numbers)
            found[picture.depth] = min(low, before[0]), max(high, before[1])
    return found


def _mixes(pictures: list[Seen]) -> Iterable[str]:
    depths = {picture.depth: picture.name for picture in pictures}
    if len(depths) > 1:
        yield (
            f"{' and '.join(depths)} together ({_examples(depths.values())}): with --range full each is shown by its "
            "own depth, a measured range is refused"
        )
    channels = {picture.channels: picture.name for picture in sorted(pictures, key=lambda picture: picture.channels)}
    if len(channels) > 1:
        grey_and_rgb = channels.keys() == {1, 3}
        yield (
            f"{' and '.join(map(str, channels))} channels together ({_examples(channels.values())}): training "
            f"{'shows grey as RGB' if grey_and_rgb else 'refuses the mixture'}"
        )


def _examples(names: Iterable[str]) -> str:
    return ", ".join(escaped(name) for name in names)


def _duplicates(pictures: list[Seen]) -> list[Duplicate]:
    groups: dict[str, list[Seen]] = {}
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
        shown = escaped(report.path)
        if not report.pictures:
            yield f"{shown} holds no picture; the formats read are {' '.join(EXTENSIONS)}"
        if report.unreadable:
            yield f"{shown}: {_count(len(report.unreadable), 'picture')} cannot be read; mend or remove"
        if len(report.channels) > 1 and report.channels.keys() != {1, 3}:
            counts = " and ".join(f"{number} of {channels}" for channels, number in sorted(report.channels.items()))
            yield f"{shown} mixes channels ({counts}); keep those of one kind"
        if report.not_finite:
            pictures = _count(len(report.not_finite), "picture")
            yield f"{shown}: {pictures} with numbers that are not finite, which are shown black"
        if report.small:
            yield f"{shown}: {_count(len(report.small), 'picture')} with a side below {min_size} pixels, to be enlarged"
    where = Counter(tuple(duplicate.folders) for duplicate in duplicates)
    for folders, count in where.items():
        names = [escaped(folder) for folder in folders]
        place = f"twice or more in {names[0]}" if len(names) == 1 else f"in each of {', '.join(names)}"
        yield f"{_count(count, 'picture')} {place}; keep one of each"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
