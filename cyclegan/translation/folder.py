"""Restartable translation of a picture, folder, list or archive.

Each picture is translated, skipped, or listed with a reason once, however often the job is started.
"""

from __future__ import annotations

import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, UsageError, lookup, reason_of
from cyclegan.images import escaped
from cyclegan.translation.job import archive
from cyclegan.translation.job.destination import Jobs, find_destination, refuse_damage
from cyclegan.translation.job.naming import Fold, Naming, Shard, folding_of, refuse_clashes
from cyclegan.translation.job.record import Fingerprint, JobRecord, failure_row, fingerprint_of, is_known
from cyclegan.translation.job.source import list_source
from cyclegan.translation.jobs import Failure, OnResult, PictureIO
from cyclegan.translation.ray import engine as cluster
from cyclegan.translation.runners import Engine, EngineOptions, TranslationSettings, translate_jobs
from cyclegan.translation.translator import Translator

Progress = Callable[[int, int], None]


@dataclass
class Summary:
    """Results of a job."""

    translated: int = 0
    skipped: int = 0  # their translations existed
    known: int = 0  # failed in an earlier run and were not tried again
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    notes: Counter[str] = field(default_factory=Counter)  # what was dropped from pictures, and from how many
    stopped: bool = False  # at the first failure, by `strict`
    failed_file: Path | None = None  # list of failures, if there are any and there is a record

    @property
    def finished(self) -> int:
        """Number of pictures processed, with any result."""
        return self.translated + self.skipped + self.known + len(self.failed)

    def settle(self, name: str, failure: Failure | None) -> None:
        """Count the result of one picture."""
        if failure is None:
            self.translated += 1
        else:
            self.failed.append((name, failure.reason))

    def note(self, text: str) -> None:
        """Count one picture from which something was dropped, as `text` says."""
        self.notes[text] += 1


class JobStopped(Exception):
    """A picture failed in a strict job."""


ENGINES: dict[str, Engine] = {"local": translate_jobs, "ray": cluster.run}


def translate_folder(
    translator: Translator,
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    png_level: int = 1,
    settings: TranslationSettings | None = None,
    naming: Naming = Naming(),
    shard: Shard | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    strict: bool = False,
    engine: str = "local",
    address: str | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Summary:
    """Translate a picture, or all pictures of a folder, list or archive, into `dest`.

    Relative names below `dest` come from `naming`. Existing translations are skipped unless `overwrite`, so that an
    interrupted job resumes where it stopped, also one with `overwrite`; those made by another model or with other
    options are refused. Pictures that could not be translated are listed in `dest/.cyclegan/failed.jsonl` and tried
    again if their files have changed, or all of them with `retry_failed`; `strict` stops at the first failure.
    `shard` selects a part of the job.

    For a single picture `dest` may also be a file name, whose suffix then sets the format; for an archive (`.tar`) it
    may be another archive. Files are written atomically, in no fixed order. `batch_size` pictures of one kind share a
    pass; None chooses (see `BatchSizes`). PNG is compressed at `png_level`, 0 (none) to 9 (slowest). `settings`
    replaces both and has all others; its folders are set here. `engine` is a key of `ENGINES`.

    Raises `UsageError`, before any work, for an unusable source or destination.
    """
    assert batch_size is None or batch_size >= 1, batch_size
    run = lookup(ENGINES, engine, "--engine")
    source, dest = os.fspath(source), Path(dest)
    settings = settings or TranslationSettings(PictureIO(png_level=png_level), batch_size=batch_size)
    settings.tiling(translator.generator)  # refused before any work
    place = find_destination(source, dest, naming)
    listing = list_source(source, place.root)
    every = Jobs(listing, place, naming, array("q", range(len(listing.names))))
    if naming.changes or not listing.distinct:
        refuse_clashes(every.named, None, "")
    refuse_damage(every)
    if shard is not None and (place.archive is not None or place.record is None):
        raise UsageError("--shard: splits only jobs that write to a folder; give each archive a job of its own")
    place.make()
    settings = replace(settings, io=replace(settings.io, root=os.path.abspath(place.root)))
    summary = Summary()
    options = EngineOptions(translator, address, summary.note)
    if place.record is None:  # a single picture
        if not overwrite and os.path.lexists(os.path.join(settings.io.root, every[0].target)):
            summary.skipped = 1
        else:
            on_progress(0, 1)
            run(settings, every, lambda job, failure: summary.settle(job.name, failure), options)
        on_progress(1, 1)
        return summary
    record = JobRecord(place.record, shard)
    job = FolderJob(every, record, summary, strict=strict, on_progress=on_progress)
    with record.held():
        settings = replace(settings, io=replace(settings.io, temporary=os.path.abspath(record.temporary)))
        fold = folding_of(record.temporary)
        fingerprint = fingerprint_of(translator, settings, naming)
        todo = job.begin(fingerprint, fold, overwrite=overwrite, retry_failed=retry_failed)
        job.run(lambda on_result: run(settings, todo, on_result, options), source)
    summary.failed.sort()
    return summary


class FolderJob:
    """A job, or one shard of it, whose `record` is locked by this process.

    `pictures` are all pictures of the source. `strict` raises `JobStopped` at the first failure.
    """

    def __init__(
        self, pictures: Jobs, record: JobRecord, summary: Summary, *, strict: bool, on_progress: Progress
    ) -> None:
        self._pictures, self._record, self._summary = pictures, record, summary
        self._strict, self._on_progress = strict, on_progress
        self._bad = [(name, failure) for name, failure in pictures.listing.bad if record.covers(name)]
        self._jobs = pictures.part(at for at, (name, _) in enumerate(pictures.named()) if record.covers(name))
        self._failures: dict[str, dict[str, Any]] = {}  # final rows of failed.jsonl

    def begin(self, fingerprint: Fingerprint, fold: Fold | None, *, overwrite: bool, retry_failed: bool) -> Jobs:
        """Compare the job with existing translations, write its manifest and return the remaining jobs.

        `fold` is the name folding of the destination's file system. Raises `UsageError` for names that it cannot tell
        apart, and for existing translations with another fingerprint.
        """
        place, jobs, record = self._jobs.place, self._jobs, self._record
        if fold is not None:
            refuse_clashes(self._pictures.named, fold, f"the file system of {escaped(str(place.root))}")
        loose, packed = jobs.existing(fold), bytearray(len(jobs))
        if place.archive is not None and place.archive.exists():
            held = archive.names_in(place.archive)
            packed = bytearray(target in held for _, target in jobs.named())
        there = next((jobs[at].target for at in range(len(jobs)) if loose[at] or packed[at]), None)
        counts = record.begin(fingerprint, overwrite=overwrite, there=there)
        marked = None if counts else record.done()
        earlier = record.failures()
        left = array("q")
        for at, (name, _) in enumerate(jobs.named()):
            if (packed[at] or loose[at]) if marked is None else (loose[at] and name in marked):
                self._summary.skipped += 1
            elif name in earlier and not retry_failed and is_known(earlier[name], jobs[at].source):
                self._failures[name] = earlier[name]
            else:
                left.append(at)
        self._summary.known = len(self._failures)
        record.write_manifest(jobs.named())
        return jobs.part(left)

    def run(self, translate: Callable[[OnResult], None], source: str) -> None:
        """Call `translate(on_result)` for the remaining jobs, then finish the job unless it was stopped."""
        with self._record.marking() as mark:

            def settle(name: str, failure: Failure | None, file: str | None) -> None:
                row = None if failure is None else failure_row(name, failure, file)
                if row is not None:
                    self._failures[name] = row
                self._summary.settle(name, failure)
                mark(name, row)
                self._tell(stop=failure is not None)

            try:
                self._tell(stop=bool(self._failures))
                for name, failure in self._bad:
                    settle(name, failure, None)
                translate(lambda job, failure: settle(job.name, failure, job.source))
            except JobStopped:
                self._summary.stopped = True
        if not self._summary.stopped:
            self._finish(source)
        if self._record.failed.exists():
            self._summary.failed_file = self._record.failed

    def _tell(self, *, stop: bool) -> None:
        """Report the progress; `JobStopped` if a strict job is to `stop`."""
        self._on_progress(self._summary.finished, len(self._jobs) + len(self._bad))
        if self._strict and stop:
            raise JobStopped

    def _finish(self, source: str) -> None:
        """Assemble the archive, if the destination is one, and finish the record."""
        place, naming = self._jobs.place, self._jobs.naming
        if place.archive is not None and (any(place.root.iterdir()) or not place.archive.exists()):
            try:
                archive.assemble(source, place.archive, naming.target, place.root, renewed=self._record.renewing)
            except OSError as error:
                reason = reason_of(error).lower()
                raise CycleganError(f"DEST: cannot write {escaped(str(place.archive))} ({reason})") from error
        self._record.finish(self._failures)
        if place.archive is not None:
            shutil.rmtree(place.root, ignore_errors=True)
