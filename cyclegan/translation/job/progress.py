"""Progress of a recorded job: remaining pictures, results, completion."""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, reason_of
from cyclegan.images import escaped
from cyclegan.translation.job import archive
from cyclegan.translation.job.destination import Destination, Jobs
from cyclegan.translation.job.naming import Fold, Naming, Shard, refuse_clashes
from cyclegan.translation.job.record import Fingerprint, JobRecord, ResultMarks, is_known
from cyclegan.translation.jobs import Failure
from cyclegan.translation.runners import OnResult

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


class FolderJob:
    """A job, or one shard of it, whose `record` is locked by this process.

    `pictures` are all pictures of the source and `bad` the unusable names in it. `strict` raises `JobStopped` at the
    first failure.
    """

    def __init__(
        self,
        place: Destination,
        pictures: Jobs,
        bad: list[tuple[str, Failure]],
        record: JobRecord,
        *,
        naming: Naming,
        shard: Shard | None,
        strict: bool,
        on_progress: Progress,
    ) -> None:
        self.summary = Summary()
        self._place, self._record, self._naming = place, record, naming
        self._strict, self._on_progress = strict, on_progress
        self._pictures = pictures
        self._bad = [(name, failure) for name, failure in bad if shard is None or shard.holds(name)]
        names = (name for name, _ in pictures.named())
        self._jobs = pictures.part(at for at, name in enumerate(names) if shard is None or shard.holds(name))
        self._fingerprint: Fingerprint = {}
        self._failures: dict[str, dict[str, Any]] = {}  # final rows of failed.jsonl

    def begin(self, fingerprint: Fingerprint, fold: Fold | None, *, overwrite: bool, retry_failed: bool) -> Jobs:
        """Compare the job with existing translations, write its manifest and return the remaining jobs.

        `fold` is the name folding of the destination's file system. Raises `UsageError` for names that it cannot tell
        apart, and for existing translations with another fingerprint.
        """
        if fold is not None:
            refuse_clashes(self._pictures.named, fold, f"the file system of {escaped(str(self._place.root))}")
        self._fingerprint = fingerprint
        loose, packed = self._jobs.existing(fold), self._packed()
        first = next((at for at in range(len(self._jobs)) if loose[at] or packed[at]), None)
        there = None if first is None else self._jobs[first].target
        counts = self._record.begin(fingerprint, overwrite=overwrite, there=there)
        marked = None if counts else self._record.done()
        earlier = self._record.failures()
        left = array("q")
        for at, (name, _) in enumerate(self._jobs.named()):
            if (packed[at] or loose[at]) if marked is None else (loose[at] and name in marked):
                self.summary.skipped += 1
            elif name in earlier and not retry_failed and is_known(earlier[name], self._jobs[at].source):
                self._failures[name] = earlier[name]
            else:
                left.append(at)
        self._record.write_manifest(self._jobs.named())
        return self._jobs.part(left)

    def run(self, translate: Callable[[OnResult], None], source: str) -> None:
        """Call `translate(on_result)` for the remaining jobs, then finish the job unless it was stopped."""
        with self._record.marking() as marks:
            try:
                self._count_known()
                for name, failure in self._bad:
                    self._on_result(marks, name, failure, None)
                translate(lambda job, failure: self._on_result(marks, job.name, failure, job.source))
            except JobStopped:
                self.summary.stopped = True
        if not self.summary.stopped:
            self._finish(source)
        if self._record.failed.exists():
            self.summary.failed_file = self._record.failed

    def _count_known(self) -> None:
        self.summary.known = len(self._failures)
        self._tell()
        if self._strict and self._failures:
            raise JobStopped

    def _on_result(self, marks: ResultMarks, name: str, failure: Failure | None, source: str | None) -> None:
        self.summary.settle(name, failure)
        if failure is None:
            marks.done(name)
        else:
            self._failures[name] = marks.failed(name, failure, source)
        self._tell()
        if self._strict and failure is not None:
            raise JobStopped

    def _finish(self, source: str) -> None:
        """Assemble the archive, if the destination is one, and finish the record."""
        place, spool = self._place, self._place.root
        if place.archive is not None and (any(spool.iterdir()) or not place.archive.exists()):
            try:
                archive.assemble(source, place.archive, self._naming.target, spool, renewed=self._record.renewing)
            except OSError as error:
                reason = reason_of(error).lower()
                raise CycleganError(f"DEST: cannot write {escaped(str(place.archive))} ({reason})") from error
        self._record.finish(self._fingerprint, self._failures)
        if place.archive is not None:
            shutil.rmtree(spool, ignore_errors=True)

    def _packed(self) -> bytearray:
        """Flag the pictures whose translation is in the existing archive."""
        if self._place.archive is None or not self._place.archive.exists():
            return bytearray(len(self._jobs))
        held = archive.names_in(self._place.archive)
        return bytearray(target in held for _, target in self._jobs.named())

    def _tell(self) -> None:
        self._on_progress(self.summary.finished, len(self._jobs) + len(self._bad))
