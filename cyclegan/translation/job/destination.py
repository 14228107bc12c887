"""Destination of a job, with protection of all files but its own translations."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from cyclegan.errors import UsageError
from cyclegan.images import escaped, is_image
from cyclegan.models import is_run
from cyclegan.system.files import make_folder
from cyclegan.translation.job import archive
from cyclegan.translation.job.naming import RECORD, Fold, Naming
from cyclegan.translation.job.source import STDIN, Listing, is_single
from cyclegan.translation.jobs import Job


@dataclass(frozen=True)
class Destination:
    """The destination of a job."""

    root: Path  # folder that targets are relative to
    record: Path | None  # folder of the record; None: a single picture, which needs no record
    archive: Path | None = None  # archive that the translations below `root` are packed into at the end
    single: str | None = None  # name of the translation of a single picture

    def make(self) -> None:
        """Create missing folders; `UsageError` if that fails or they are not writable."""
        if self.archive is not None:
            make_folder(self.archive.parent, "DEST")
        for folder in (self.root, self.record):
            if folder is not None:
                make_folder(folder, "DEST")


def find_destination(source: str, dest: Path, naming: Naming) -> Destination:
    """Resolve `dest` for the translations of `source`; `UsageError` if it is unusable."""
    shown = escaped(str(dest))
    if is_run(dest):
        raise UsageError(f"DEST: {shown} is the directory of a training run; name another folder")
    if is_single(source):
        name = os.path.basename(os.path.abspath(source))
        if dest.is_dir() or not is_image(dest.name):
            return Destination(dest, None, single=naming.target(name))
        return Destination(dest.parent, None, single=dest.name)
    if source != STDIN and os.path.exists(dest) and os.path.samefile(source, dest):
        raise UsageError(f"DEST: {shown} is SOURCE itself; name another folder")
    if dest.suffix.lower() != archive.SUFFIX or dest.is_dir():
        return Destination(dest, dest / RECORD)
    if os.path.isdir(source) or Path(source).suffix.lower() != archive.SUFFIX:
        raise UsageError(f"DEST: {shown}: only an archive becomes an archive; name a folder")
    if naming.suffix:
        raise UsageError("--suffix: would part the pictures of an archive from what belongs to them; leave it out")
    record = dest.parent / RECORD / dest.name
    return Destination(record / "members", record, dest)


@dataclass(frozen=True, eq=False)
class Jobs(Sequence[Job]):
    """Lazy sequence of the jobs of the pictures `numbers` of a listing."""

    listing: Listing
    place: Destination
    naming: Naming
    numbers: array[int]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Job: ...

    @overload
    def __getitem__(self, at: slice) -> Jobs: ...

    def __getitem__(self, at: int | slice) -> Job | Jobs:
        if isinstance(at, slice):
            return replace(self, numbers=self.numbers[at])
        number = self.numbers[at]
        path, span = self.listing.place(number)
        return Job(self.listing.names[number], path, self.target(number), span)

    def part(self, positions: Iterable[int]) -> Jobs:
        """Subsequence of the jobs at these positions."""
        return replace(self, numbers=array("q", (self.numbers[at] for at in positions)))

    def target(self, number: int) -> str:
        """Output name of a picture of the listing, relative to the root of the destination."""
        return self.place.single or self.naming.target(self.listing.names[number])

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the name and target of each job."""
        return ((self.listing.names[number], self.target(number)) for number in self.numbers)

    def sources(self) -> Iterator[str]:
        """Yield the file that contains each picture."""
        return (self.listing.place(number)[0] for number in self.numbers)

    def existing(self, fold: Fold | None) -> bytearray:
        """Flag the jobs whose target exists. Each folder is listed once; no single files are looked up.

        `fold` maps names that the file system treats as equal to one; None: exact comparison.
        """
        fold = fold or str
        by_folder: dict[str, array[int]] = {}
        for at, (_, target) in enumerate(self.named()):
            by_folder.setdefault(target.rpartition("/")[0], array("q")).append(at)
        there = bytearray(len(self))
        for folder, positions in by_folder.items():
            absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
            with absent, os.scandir(self.place.root / folder) as scan:
                held = {fold(entry.name) for entry in scan}
                for at in positions if held else ():
                    there[at] = fold(self.target(self.numbers[at]).rpartition("/")[2]) in held
        return there


def refuse_damage(jobs: Jobs) -> None:
    """Raise `UsageError` if a translation would replace an input picture or leave the destination by a link."""
    root = jobs.place.root
    real_root = os.path.realpath(root)
    # Folders are compared first, as there are fewer of them; their files only where two folders are the same
    sources = {folder: os.path.realpath(folder) for folder in {os.path.dirname(path) for path in jobs.sources()}}
    folders = {target.rpartition("/")[0] for _, target in jobs.named()}
    targets = {folder: os.path.realpath(root / folder) for folder in folders}
    for folder, real in sorted(targets.items()):
        if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
            raise UsageError(
                f"DEST: {escaped(str(root / folder))} is a link that leads out of {escaped(str(root))}; remove it, "
                "or name another folder"
            )
    if not (shared := set(sources.values()) & set(targets.values())):
        return
    read = ((sources[os.path.dirname(path)], os.path.basename(path)) for path in jobs.sources())
    taken = {(folder, name) for folder, name in read if folder in shared}
    for _, target in jobs.named():
        folder, _, name = target.rpartition("/")
        if (targets[folder], name) in taken:
            raise UsageError(
                f"DEST: {escaped(str(root / target))} is itself one of the pictures to translate; name another DEST"
            )
