"""Which file becomes which, and the two ends of such a job: reading the one, writing the other.

What goes wrong with one picture is a reason for the report; what cannot be meant stops the whole before any work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cyclegan.errors import CycleganError, UsageError
from cyclegan.files import make_folder
from cyclegan.images import EXTENSIONS, UnreadableImage, is_image, list_images, printable, read_image, write_image
from cyclegan.models import is_run


@dataclass(frozen=True)
class Job:
    """One picture to translate."""

    name: str  # relative to the source, as reports give it
    source: Path
    target: Path


def plan(source: Path, dest: Path) -> list[Job]:
    """Which file becomes which, after every check that costs nothing; makes the destination's folder.

    Raises `UsageError` where source or destination cannot be meant.
    """
    if not os.path.exists(source):
        raise UsageError(f"SOURCE: there is no {printable(str(source))}; name a picture or a folder of pictures")
    if is_run(dest):
        raise UsageError(f"DEST: {printable(str(dest))} is the directory of a training run; name another folder")
    jobs = _plan_folder(source, dest) if source.is_dir() else [_plan_file(source, dest)]
    _spare_sources(jobs)
    for folder in {job.target.parent for job in jobs} if not source.is_dir() else {dest}:
        make_folder(folder, "DEST")
    return jobs


def read(job: Job) -> np.ndarray | str:
    """The picture (uint8 HWC RGB), or why there is none."""
    try:
        return read_image(job.source)
    except UnreadableImage as error:
        return error.reason


def write(job: Job, picture: np.ndarray, png_level: int) -> str | None:
    """None when the picture is written, or why it is not."""
    try:
        write_image(job.target, picture, png_level=png_level)
    except OSError as error:
        return f"cannot write it ({(error.strerror or str(error)).lower()})"
    except CycleganError as error:
        return str(error)
    return None


def _plan_folder(source: Path, dest: Path) -> list[Job]:
    inside, outside = source.resolve(), dest.resolve()
    if inside == outside:
        raise UsageError(f"DEST: {printable(str(dest))} is SOURCE itself; name another folder")
    names = list_images(source)
    if outside.is_relative_to(inside):
        own = outside.relative_to(inside).as_posix() + "/"
        names = [name for name in names if not name.startswith(own)]
    if not names:
        raise UsageError(f"SOURCE: there is no picture in {printable(str(source))}; read are {' '.join(EXTENSIONS)}")
    return [Job(name, source / name, dest / name) for name in names]


def _plan_file(source: Path, dest: Path) -> Job:
    target = dest
    if dest.is_dir() or not is_image(dest.name):
        # A picture is known by its content, so its name may end in anything; what is written needs a known suffix.
        target = dest / (source.name if is_image(source.name) else source.name + ".png")
    return Job(source.name, source, target)


def _spare_sources(jobs: list[Job]) -> None:
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
