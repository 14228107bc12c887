"""Check of folders of pictures before training, which decodes every picture once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cyclegan.data.loading.regions import sampled_parts
from cyclegan.data.sets import require_folder
from cyclegan.errors import reason_of
from cyclegan.images import EXTENSIONS, Picture, UnreadableImage, decode_picture, escaped, list_images, read_header
from cyclegan.system.files import file_sha256, sha256

PARTS = ("trainA", "trainB", "testA", "testB")  # of a folder laid out as a data set
WHOLE = 2**30  # bytes decoded; of larger pictures nine crops of the first page are checked
_DEPTHS = {
    "bool": "1-bit",
    "uint8": "8-bit",
    "uint16": "16-bit",
    "int16": "16-bit signed",
    "uint32": "32-bit",
    "int32": "32-bit signed",
    "float16": "16-bit float",
    "float32": "32-bit float",
    "float64": "64-bit float",
}


class Checked(NamedTuple):
    """The result for one file: a few hundred bytes."""

    folder: str
    name: str
    content: str  # SHA-256 of the file, "" where it cannot be opened
    pixels: str = ""  # SHA-256 of the size and the decoded pixels
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    depth: str = ""  # "8-bit", "16-bit", "32-bit float", …
    channels: int = 0  # without transparency
    numbers: tuple[float, float] | None = None  # least and greatest finite value stored; None without any
    not_finite: bool = False  # some numbers are NaN or infinite
    grey: bool = False
    profile: bool = False  # a colour profile that is converted to sRGB
    transparent: bool = False  # in at least one pixel
    pages: int = 1
    notes: tuple[str, ...] = ()  # on parts that are ignored: "the first of 12 frames"
    reason: str = ""  # why it is unreadable


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class FolderReport:
    """The contents of one folder; names are relative to it."""

    path: str
    pictures: int
    width: Spread | None  # in pixels, of the readable pictures, upright; None without any
    height: Spread | None
    formats: dict[str, int]
    modes: dict[str, int]  # as stored: "RGB", "L", "CMYK", …
    depths: dict[str, int]  # of a stored number: "8-bit", "16-bit", "32-bit float", …
    channels: dict[int, int]  # without transparency
    ranges: dict[str, tuple[float, float]]  # by depth: least and greatest stored number
    not_finite: list[str]  # names of pictures with NaN or infinite numbers
    profiles: int  # pictures with a colour profile; they are converted to sRGB
    transparent: int  # pictures that are not opaque everywhere
    pages: dict[int, int]  # documents by their number of pages; empty without documents
    notes: list[tuple[str, str]]  # name, and a note on ignored parts: "the first of 12 frames"
    mixes: list[str]  # sentences on the treatment of mixed kinds in training
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
        return list(dict.fromkeys(folder for folder, _ in self.places))


@dataclass(frozen=True)
class Report:
    """The result of `check_folders`; `problems` are sentences, empty if there are none."""

    min_size: int
    folders: list[FolderReport]
    duplicates: list[Duplicate]
    problems: list[str]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for `json.dumps`."""
        return dataclasses.asdict(self)


def check_folders(
    dirs: Sequence[Path], min_size: int = 64, *, advance: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Decode every picture below `dirs` and report; a folder that contains trainA or trainB stands for its four parts.

    Duplicates are found by content: equal files, and equal pixels in different files. Pictures with a side below
    `min_size` are reported. `advance` is called with the number of pictures done and their total. Memory: one
    decoded picture per processor, and some hundred bytes per picture. Raises `UsageError` unless `dirs` are folders.
    """
    folders = _expand(dirs)
    work = [(folder, name) for folder in folders for name in list_images(folder)]
    checked: list[Checked] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and hashing both release the GIL
        for picture in pool.map(_check, work):
            checked.append(picture)
            advance(len(checked), len(work))
    reports = [_summarise(str(folder), [p for p in checked if p.folder == str(folder)], min_size) for folder in folders]
    duplicates = _duplicates(checked)
    return Report(min_size, reports, duplicates, list(_problems(reports, duplicates, min_size)))


def _expand(dirs: Iterable[Path]) -> list[Path]:
    folders: dict[Path, Path] = {}  # by real path, so that none is checked twice
    for path in dirs:
        require_folder(path, "DIR")
        parts = [path / part for part in PARTS if (path / part).is_dir()]
        for folder in parts if {"trainA", "trainB"} & {part.name for part in parts} else [path]:
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _summarise(path: str, pictures: list[Checked], min_size: int) -> FolderReport:
    readable = [picture for picture in pictures if not picture.reason]

    def counts(values: Iterable[Any]) -> dict[Any, int]:
        return dict(Counter(values).most_common())

    return FolderReport(
        path=path,
        pictures=len(pictures),
        width=_spread([picture.width for picture in readable]),
        height=_spread([picture.height for picture in readable]),
        formats=counts(picture.format for picture in readable),
        modes=counts(picture.mode for picture in readable),
        depths=counts(picture.depth for picture in readable),
        channels=counts(picture.channels for picture in readable),
        ranges=_ranges(readable),
        not_finite=[picture.name for picture in readable if picture.not_finite],
        profiles=sum(picture.profile for picture in readable),
        transparent=sum(picture.transparent for picture in readable),
        pages=counts(picture.pages for picture in readable if picture.pages > 1),
        notes=[(picture.name, note) for picture in readable for note in picture.notes],
        mixes=list(_mixes(readable)),
        grey=[picture.name for picture in readable if picture.grey],
        unreadable=[(picture.name, picture.reason) for picture in pictures if picture.reason],
        small=[(p.name, p.width, p.height) for p in readable if min(p.width, p.height) < min_size],
    )


def _spread(numbers: list[int]) -> Spread | None:
    return Spread(min(numbers), statistics.median(numbers), max(numbers)) if numbers else None


def _ranges(pictures: list[Checked]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for picture in pictures:
        if picture.numbers is not None:
            (low, high), before = picture.numbers, found.get(picture.depth, picture.numbers)
            found[picture.depth] = min(low, before[0]), max(high, before[1])
    return found


def _mixes(pictures: list[Checked]) -> Iterable[str]:
    depths = {picture.depth: picture.name for picture in pictures}
    if len(depths) > 1:
        names = ", ".join(map(escaped, depths.values()))
        yield (
            f"{' and '.join(depths)} together ({names}): with --range full each is shown by its own depth, a measured "
            "range is refused"
        )
    channels = {picture.channels: picture.name for picture in sorted(pictures, key=lambda picture: picture.channels)}
    if len(channels) > 1:
        names = ", ".join(map(escaped, channels.values()))
        use = "shows grey as RGB" if channels.keys() == {1, 3} else "refuses the mixture"
        yield f"{' and '.join(map(str, channels))} channels together ({names}): training {use}"


def _duplicates(pictures: list[Checked]) -> list[Duplicate]:
    groups: dict[str, list[Checked]] = {}
    for picture in pictures:
        key = picture.pixels or picture.content  # equal files have equal pixels; unreadable ones have none
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
    shared = Counter(tuple(duplicate.folders) for duplicate in duplicates)
    for folders, count in shared.items():
        names = [escaped(folder) for folder in folders]
        place = f"twice or more in {names[0]}" if len(names) == 1 else f"in each of {', '.join(names)}"
        yield f"{_count(count, 'picture')} {place}; keep one of each"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _check(work: tuple[Path, str]) -> Checked:
    """Decode a picture, given as folder and name, and describe it."""
    folder, name = str(work[0]), work[1]
    path, content = work[0] / name, ""
    try:
        if _is_enormous(path):
            content = file_sha256(path)
            header = read_header(path)
            return _described(folder, name, content, list(sampled_parts(path)), header.height, header.width)
        data = path.read_bytes()
        content = sha256(data)
        picture = decode_picture(data, path)
        return _described(folder, name, content, [picture], picture.height, picture.width)
    except UnreadableImage as error:
        return Checked(folder, name, content, reason=error.reason)
    except OSError as error:
        return Checked(folder, name, content, reason=reason_of(error).lower())


def _is_enormous(path: Path) -> bool:
    try:
        return read_header(path).nbytes > WHOLE
    except UnreadableImage:
        return False  # reported when it is decoded, which also finds equal files


def _described(folder: str, name: str, content: str, parts: list[Picture], height: int, width: int) -> Checked:
    """Build the result for a picture from its crops, or from the whole as the only part."""
    first = parts[0]
    grey = all(_is_grey(part.pixels) for part in parts)
    transparent = any(part.alpha is not None and bool((part.alpha != _opaque(part.alpha)).any()) for part in parts)
    dtype = str(first.pixels.dtype)
    digest = hashlib.sha256(repr((height, width, 1 if grey else first.channels, dtype)).encode())
    spans = []
    for part in parts:
        numbers = np.ascontiguousarray(part.pixels[..., 0]) if grey else np.ascontiguousarray(part.pixels)
        digest.update(numbers.data)
        if transparent and part.alpha is not None:
            digest.update(np.ascontiguousarray(part.alpha).data)
        spans.append(_span(numbers))
    found = [span for span in spans if span is not None]
    return Checked(
        folder,
        name,
        content,
        pixels=digest.hexdigest(),
        width=width,
        height=height,
        format=first.details.format,
        mode=first.details.mode,
        depth=_DEPTHS.get(dtype, dtype),
        channels=first.channels,
        numbers=(min(low for low, _, _ in found), max(high for _, high, _ in found)) if found else None,
        not_finite=len(found) < len(spans) or not all(finite for _, _, finite in found),
        grey=grey,
        profile=first.details.tagged,
        transparent=transparent,
        pages=1 + len(first.pages),
        notes=first.details.notes,
    )


def _is_grey(pixels: np.ndarray) -> bool:
    return pixels.shape[2] == 1 or (pixels.shape[2] == 3 and bool((pixels[..., 1:] == pixels[..., :1]).all()))


def _opaque(alpha: np.ndarray) -> float:
    return 1 if alpha.dtype.kind in "fb" else int(np.iinfo(alpha.dtype).max)


def _span(numbers: np.ndarray) -> tuple[float, float, bool] | None:
    """Least and greatest finite number, and True if all are finite; None if none is."""
    low, high = numbers.min(), numbers.max()
    if numbers.dtype.kind != "f" or np.isfinite([low, high]).all():
        return float(low), float(high), True
    finite = numbers[np.isfinite(numbers)]
    return (float(finite.min()), float(finite.max()), False) if finite.size else None
