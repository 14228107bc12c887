"""A file or a whole folder of pictures through a translator.

Reading, computing and writing overlap: while the device works on one batch, threads decode the next ones and encode
the last (Pillow leaves Python's lock while it does). No more than a few batches are in memory at a time, whatever the
folder holds, and every picture ends up translated, skipped, or in the list of failures with its reason.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from cyclegan.errors import CycleganError, UsageError
from cyclegan.files import make_folder
from cyclegan.images import EXTENSIONS, UnreadableImage, is_image, list_images, printable, read_image, write_image
from cyclegan.models import is_run
from cyclegan.translation.translator import Translator

T = TypeVar("T")
R = TypeVar("R")

THREADS = 4  # enough to keep a fast GPU fed with photographs; more only hold more pictures in memory


@dataclass
class Summary:
    """What became of the pictures of a job."""

    translated: int = 0
    skipped: int = 0  # their translations were there already
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason

    @property
    def finished(self) -> int:
        """How many pictures have been dealt with, one way or another."""
        return self.translated + self.skipped + len(self.failed)


@dataclass(frozen=True)
class _Job:
    name: str  # relative to the source, as reports give it
    source: Path
    target: Path


def translate_folder(
    translator: Translator,
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    batch_size: int = 1,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Translate the picture `source`, or all pictures below it, to the same relative names below `dest`.

    What `dest` already has is skipped unless `overwrite`, so that a job that was interrupted goes on where it stopped.
    A `dest` inside `source` is not translated again. For a single picture `dest` may also be a file name, whose suffix
    then decides the format. Files appear whole or not at all. `on_progress` is told how many of how many are done.

    Raises `UsageError`, before any work, where source or destination cannot be meant.
    """
    if translator.in_channels != 3:
        raise UsageError(f"MODEL works on pictures of {translator.in_channels} channels, those of files have 3")
    jobs = _plan(Path(source), Path(dest))
    summary = Summary()
    todo = [job for job in jobs if overwrite or not os.path.lexists(job.target)]
    summary.skipped = len(jobs) - len(todo)
    on_progress(summary.finished, len(jobs))

    def settle(job: _Job, reason: str | None) -> None:
        if reason is None:
            summary.translated += 1
        else:
            summary.failed.append((job.name, reason))
        on_progress(summary.finished, len(jobs))

    window = 2 * max(batch_size, THREADS)
    writing: deque[tuple[_Job, Future[str | None]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in _batches(_ahead(pool, _read, todo, window), batch_size):
            pictures = [(job, result) for job, result in batch if not isinstance(result, str)]
            translated = dict(
                zip((job for job, _ in pictures), _translate(translator, [p for _, p in pictures]), strict=True)
            )
            for job, read in batch:
                result = translated.get(job, read)
                if isinstance(result, str):
                    settle(job, result)
                else:
                    writing.append((job, pool.submit(_write, job, result)))
            while len(writing) > window:
                job, written = writing.popleft()
                settle(job, written.result())
        for job, written in writing:
            settle(job, written.result())
    summary.failed.sort()
    return summary


def _plan(source: Path, dest: Path) -> list[_Job]:
    """Which file becomes which, after every check that costs nothing; makes the destination's folder."""
    if not os.path.exists(source):
        raise UsageError(f"SOURCE: there is no {printable(str(source))}; name a picture or a folder of pictures")
    if is_run(dest):
        raise UsageError(f"DEST: {printable(str(dest))} is the directory of a training run; name another folder")
    jobs = _plan_folder(source, dest) if source.is_dir() else [_plan_file(source, dest)]
    _spare_sources(jobs)
    for folder in {job.target.parent for job in jobs} if not source.is_dir() else {dest}:
        make_folder(folder, "DEST")
    return jobs


def _plan_folder(source: Path, dest: Path) -> list[_Job]:
    inside, outside = source.resolve(), dest.resolve()
    if inside == outside:
        raise UsageError(f"DEST: {printable(str(dest))} is SOURCE itself; name another folder")
    names = list_images(source)
    if outside.is_relative_to(inside):
        own = outside.relative_to(inside).as_posix() + "/"
        names = [name for name in names if not name.startswith(own)]
    if not names:
        raise UsageError(f"SOURCE: there is no picture in {printable(str(source))}; read are {' '.join(EXTENSIONS)}")
    return [_Job(name, source / name, dest / name) for name in names]


def _plan_file(source: Path, dest: Path) -> _Job:
    target = dest
    if dest.is_dir() or not is_image(dest.name):
        # A picture is known by its content, so its name may end in anything; what is written needs a known suffix.
        target = dest / (source.name if is_image(source.name) else source.name + ".png")
    return _Job(source.name, source, target)


def _spare_sources(jobs: list[_Job]) -> None:
    """Refuse a destination in which a translation would take the place of one of the pictures to translate."""
    sources = {_place(job.source) for job in jobs}
    for job in jobs:
        if _place(job.target) in sources:
            raise UsageError(
                f"DEST: {printable(str(job.target))} is itself one of the pictures to translate; name another place"
            )


def _place(path: Path) -> str:
    """Where a file name really is. The file itself may be a link: writing replaces the link, not what it points to."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _read(job: _Job) -> np.ndarray | str:
    """The picture, or why there is none."""
    try:
        return read_image(job.source)
    except UnreadableImage as error:
        return error.reason


def _write(job: _Job, picture: np.ndarray) -> str | None:
    """None when the picture is written, or why it is not."""
    try:
        write_image(job.target, picture)
    except OSError as error:
        return f"cannot write it ({(error.strerror or str(error)).lower()})"
    except CycleganError as error:
        return str(error)
    return None


def _translate(translator: Translator, pictures: list[np.ndarray]) -> list[np.ndarray | str]:
    """The translations, one by one if they do not fit in the memory together; a reason for those too large alone."""
    if not pictures:
        return []
    try:
        return list(translator.batch(pictures))
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
    if len(pictures) == 1:
        height, width = pictures[0].shape[:2]
        return [f"{width}×{height} pixels are more than fit in the memory; scale it down, or use another --device"]
    return [result for picture in pictures for result in _translate(translator, [picture])]


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], window: int) -> Iterator[tuple[T, R]]:
    """Each item with what `work` made of it, in order, with `window` of them under way in the pool."""
    items = iter(items)
    waiting = deque((item, pool.submit(work, item)) for item in islice(items, window))
    while waiting:
        item, result = waiting.popleft()
        waiting.extend((following, pool.submit(work, following)) for following in islice(items, 1))
        yield item, result.result()


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(items, size)):
        yield batch
