"""What a job writes down beside its translations, in `.cyclegan`, so that it can be gone on with and looked at.

    job.json         what the translations were made with, in words: `fingerprint`; `renewing` while all are made again
    manifest.jsonl   a row for each picture: its name, and that of its translation
    done.jsonl       a row for each that is done, in no order; only while the job is not at its end
    failed.jsonl     a row for each that could not be translated: path, error, reason; only if there are any
    tmp/             files that are not whole yet; only while a job is running
    lock             held by the process that is at it

The parts of a job that was cut up by --shard have files of their own (`job-1of3.json`, …), so that they need not know
of each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import escaped
from cyclegan.system.files import atomic_write, locked
from cyclegan.translation.job.naming import Shard
from cyclegan.translation.jobs import Failure, identity_of

Fingerprint = Mapping[str, Any]  # by the name of the option without its dashes; JSON values

# Failures by the picture or its model, which come again as long as the file is the same. Others have another cause, a
# full disk for one, and are tried again without being asked.
_LASTING = frozenset({"UnreadableImage", "ValueError", "CycleganError", "UsageError"})


class JobRecord:
    """The files of one job, or of one part of it, in `folder`, which exists."""

    def __init__(self, folder: Path, shard: Shard | None) -> None:
        tag = "" if shard is None else f"-{shard.number}of{shard.count}"
        self.folder, self._shard = folder, shard
        self.temporary = folder / f"tmp{tag}"
        self.failed = folder / f"failed{tag}.jsonl"
        self._job = folder / f"job{tag}.json"
        self._manifest = folder / f"manifest{tag}.jsonl"
        self._done = folder / f"done{tag}.jsonl"
        self._lock = f"lock{tag}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For this process alone, with an empty folder for temporary files; `CycleganError` if another has it."""
        with locked(self.folder, self._lock, "DEST"):
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self.temporary, ignore_errors=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around what writes to the record: without a record there is no job, so `CycleganError` where it cannot."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CycleganError(
                f"DEST: cannot write to {escaped(str(self.folder))} ({reason}); mend that and run the same again"
            ) from error

    def begin(self, fingerprint: Fingerprint, *, overwrite: bool, there: str | None) -> bool:
        """Start or go on with a job; whether what exists of it counts as done. If not, only what is marked does.

        `there` is a translation that exists already, if any does. Raises `UsageError` where it may have been made by
        another model or with other options, and not all are made again by `overwrite`.
        """
        own, others = self._own(), list(self._others())
        if overwrite:
            if own is None or not own["renewing"] or _differences(own["fingerprint"], fingerprint):
                for stale in (self._done, self.failed):
                    stale.unlink(missing_ok=True)
                self._write_job(fingerprint, renewing=True)
            return False
        for known in [own, *others]:
            if known is not None and (differences := _differences(known["fingerprint"], fingerprint)):
                raise UsageError(
                    f"DEST: the translations in {self._place} were made with {differences}; give --overwrite to make "
                    "all of them again, or name another DEST"
                )
        # Parts of the same cut hold other pictures than this one and vouch for none of them
        covering = [known for known in others if not self._is_sibling(known)]
        if any(known["renewing"] for known in covering):
            raise UsageError(
                f"DEST: the translations in {self._place} are being made again by --overwrite and not all are; "
                "finish that with the same command, or give --overwrite"
            )
        if own is None:
            if there is not None and not covering:
                raise UsageError(
                    f"DEST: {self._place} has {escaped(there)} already, and no record of what made it; give "
                    "--overwrite to replace it, or name another DEST"
                )
            self._write_job(fingerprint, renewing=False)
        return own is None or not own["renewing"]

    def finish(self, fingerprint: Fingerprint, failures: Mapping[str, dict[str, Any]]) -> None:
        """The end of a job: its failures in their order, and what exists counts as done from now on."""
        self._write_failed(failures)
        renewed = self.renewing
        self._write_job(fingerprint, renewing=False)
        self._done.unlink(missing_ok=True)
        if renewed:
            self._supersede(fingerprint)

    def write_manifest(self, pictures: Iterable[tuple[str, str]]) -> None:
        """A row for each picture, given as its name and that of its translation."""
        rows = (f'{{"name": {json.dumps(name)}, "target": {json.dumps(target)}}}\n' for name, target in pictures)
        with self.writing():
            with open(self.temporary / "manifest", "w", encoding="ascii") as stream:
                stream.writelines(rows)
            os.replace(self.temporary / "manifest", self._manifest)

    def done(self) -> set[str]:
        """The names that are marked as done."""
        return {name for name in _rows(self._done) if isinstance(name, str)}

    def failures(self) -> dict[str, dict[str, Any]]:
        """The rows of pictures that could not be translated, by their names."""
        return {row["path"]: row for row in _rows(self.failed) if isinstance(row, dict) and "path" in row}

    @contextlib.contextmanager
    def marking(self) -> Iterator[ResultMarks]:
        """The marks of what becomes of the pictures, added one by one."""
        with self.writing():
            for path in (self._done, self.failed):
                path.touch()
        with _appending(self._done) as done, _appending(self.failed) as failed:
            yield ResultMarks(self, done, failed)

    @property
    def renewing(self) -> bool:
        """Whether all translations are being made again, so that those of before do not count."""
        own = self._own()
        return own is not None and bool(own["renewing"])

    @property
    def _place(self) -> str:
        return escaped(str(self.folder.parent))

    def _write_failed(self, failures: Mapping[str, dict[str, Any]]) -> None:
        if failures:
            rows = "".join(_row(failures[name]) for name in sorted(failures))
            with self.writing():
                atomic_write(self.failed, rows.encode("ascii"), temporary_in=self.temporary)
        else:
            self.failed.unlink(missing_ok=True)

    def _write_job(self, fingerprint: Fingerprint, *, renewing: bool) -> None:
        parts = None if self._shard is None else [self._shard.number, self._shard.count]
        row = {"version": 1, "fingerprint": dict(fingerprint), "renewing": renewing, "shard": parts}
        with self.writing():
            atomic_write(self._job, (json.dumps(row, indent=2) + "\n").encode(), temporary_in=self.temporary)

    def _own(self) -> dict[str, Any] | None:
        return _job_in(self._job)

    def _others(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("job*.json")):
            if path != self._job and (known := _job_in(path)) is not None:
                yield known

    def _is_sibling(self, known: Mapping[str, Any]) -> bool:
        return self._shard is not None and known["shard"] is not None and known["shard"][1] == self._shard.count

    def _supersede(self, fingerprint: Fingerprint) -> None:
        """Forget jobs with other fingerprints, of which nothing is left once everything has been made again."""
        others = list(self._others())
        if self._shard is not None:
            siblings = [known for known in others if self._is_sibling(known) and not known["renewing"]]
            agreed = [known for known in siblings if not _differences(known["fingerprint"], fingerprint)]
            if len(agreed) < self._shard.count - 1:
                return  # the part that ends last will
        for known in others:
            if _differences(known["fingerprint"], fingerprint):
                shard = None if known["shard"] is None else Shard(*known["shard"])
                other = JobRecord(self.folder, shard)
                for path in (other._job, other._manifest, other._done, other.failed):
                    path.unlink(missing_ok=True)


class ResultMarks:
    """Rows that stay when the process is killed, since the system has each as soon as it is written."""

    def __init__(self, record: JobRecord, done: int, failed: int) -> None:
        self._record, self._done, self._failed = record, done, failed

    def done(self, name: str) -> None:
        """The translation of this picture is in its place."""
        with self._record.writing():
            os.write(self._done, _row(name).encode("ascii"))

    def failed(self, name: str, failure: Failure, source: str | None) -> dict[str, Any]:
        """There is none, and why; the row that says so. `source` is the file, to see whether it changes."""
        row = {"path": name, "error": failure.error, "reason": failure.reason}
        if source is not None and failure.error in _LASTING:
            row["file"] = identity_of(source)  # type: ignore[assignment]
        with self._record.writing():
            os.write(self._failed, _row(row).encode("ascii"))
        return row


def is_known(row: Mapping[str, Any], source: str) -> bool:
    """Whether what is said in a row of failed.jsonl will be said again: by the picture, and of the same file."""
    return row.get("file") is not None and row["file"] == identity_of(source)


def _differences(before: Fingerprint, now: Fingerprint) -> str:
    """In which options two fingerprints differ, in words: how it was. Empty where they agree as far as both tell."""
    differing = [name for name in before if name in now and before[name] != now[name]]
    return " and ".join(_in_words(name, before[name]) for name in differing)


def _in_words(name: str, value: Any) -> str:
    if name == "model":
        return "another MODEL"
    if value is None or value is False or value == "":
        return f"no --{name}"
    return f"--{name}" if value is True else f"--{name} {escaped(str(value))}"


def _job_in(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not {"fingerprint", "renewing", "shard"} <= known.keys():
        raise UsageError(f"DEST: {escaped(str(path))} is no record of a job; remove it and give --overwrite")
    return known


def _row(value: Any) -> str:
    return json.dumps(value) + "\n"  # ASCII: bytes that are no text stand as \udcXX, which os.fsencode takes back


def _rows(path: Path) -> Iterator[Any]:
    """The rows of a file that may have been cut off in the middle of one; none without a file."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.endswith("\n"):
                with contextlib.suppress(ValueError, RecursionError):
                    yield json.loads(line)


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    """A file to add rows to, which begins a new line if it was cut off in the middle of one."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.write(handle, b"\n")
        yield handle
    finally:
        os.close(handle)
