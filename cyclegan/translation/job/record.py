"""Record of a job in `.cyclegan` beside its translations, for resuming and for inspection.

   job.json         settings of the translations: `fingerprint`; `renewing` while all are made again
   manifest.jsonl   a row for each picture: its name, and that of its translation
   done.jsonl       a row for each finished picture, unordered; only until the job is finished
   failed.jsonl     a row for each failure: path, error, reason; only if there are any
   tmp/             unfinished files; only while a job is running
   lock             held by the running process

Parts of a job split by --shard have files of their own (`job-1of3.json`, …), so that they are independent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.images import escaped
from cyclegan.models import weights_sha256
from cyclegan.system.files import atomic_write, locked
from cyclegan.translation.job.naming import Naming, Shard
from cyclegan.translation.jobs import Failure, identity_of
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.translator import Translator

Fingerprint = Mapping[str, Any]  # JSON values by option name without dashes

# Failures due to the picture or the model, which recur while the file is unchanged. Others, due to a full disk for
# example, are retried automatically.
_LASTING = frozenset({"UnreadableImage", "ValueError", "CycleganError", "UsageError"})


class JobRecord:
    """Files of one job, or of one shard of it, in the existing `folder`."""

    def __init__(self, folder: Path, shard: Shard | None) -> None:
        tag = "" if shard is None else f"-{shard.number}of{shard.count}"
        self.folder, self._shard = folder, shard
        self.temporary = folder / f"tmp{tag}"
        self.failed = folder / f"failed{tag}.jsonl"
        self._job = folder / f"job{tag}.json"
        self._manifest = folder / f"manifest{tag}.jsonl"
        self._done = folder / f"done{tag}.jsonl"
        self._lock = f"lock{tag}"
        self._fingerprint: Fingerprint = {}  # known from `begin` on

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the record and create an empty temporary folder; `CycleganError` if another process holds it."""
        with locked(self.folder, self._lock, "DEST"):
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self.temporary, ignore_errors=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an `OSError` in writing the record, without which there is no job, into `CycleganError`."""
        try:
            yield
        except OSError as error:
            raise CycleganError(
                f"DEST: cannot write to {escaped(str(self.folder))} ({reason_of(error).lower()}); "
                "fix that and run the same command again"
            ) from error

    def covers(self, name: str) -> bool:
        """Return whether the picture of this name belongs to the job or shard."""
        return self._shard is None or self._shard.holds(name)

    def begin(self, fingerprint: Fingerprint, *, overwrite: bool, there: str | None) -> bool:
        """Start or resume a job; return whether existing translations count as done, else only marked ones do.

        `there` is an existing translation, if any. Raises `UsageError` if it may have been made by another model or
        with other options, unless `overwrite` makes all of them again.
        """
        own, others = _job_in(self._job), list(self._others())
        self._fingerprint = fingerprint
        if overwrite:
            if own is None or not own["renewing"] or _differences(own["fingerprint"], fingerprint):
                self._done.unlink(missing_ok=True)
                self.failed.unlink(missing_ok=True)
                self._write_job(renewing=True)
            return False
        for known in [own, *others]:
            if known is not None and (differences := _differences(known["fingerprint"], fingerprint)):
                raise UsageError(
                    f"DEST: the translations in {self._place} were made with {differences}; give --overwrite to make "
                    "all of them again, or name another DEST"
                )
        # Shards of the same split have other pictures than this one and say nothing about its pictures
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
            self._write_job(renewing=False)
        return own is None or not own["renewing"]

    def finish(self, failures: Mapping[str, dict[str, Any]]) -> None:
        """Finish a job: write its failures in order; existing translations count as done from now on."""
        if failures:
            rows = (_row(failures[name]) for name in sorted(failures))
            with self.writing():
                atomic_write(self.failed, *rows, temporary_in=self.temporary)
        else:
            self.failed.unlink(missing_ok=True)
        renewed = self.renewing
        self._write_job(renewing=False)
        self._done.unlink(missing_ok=True)
        if renewed:
            self._supersede()

    def write_manifest(self, pictures: Iterable[tuple[str, str]]) -> None:
        """Write a row for each picture, given as (name, target)."""
        rows = (f'{{"name": {json.dumps(name)}, "target": {json.dumps(target)}}}\n' for name, target in pictures)
        with self.writing():
            with open(self.temporary / "manifest", "w", encoding="ascii") as stream:
                stream.writelines(rows)
            os.replace(self.temporary / "manifest", self._manifest)

    def done(self) -> set[str]:
        """Names marked as done."""
        return {name for name in _rows(self._done) if isinstance(name, str)}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Rows of failed pictures by name."""
        return {row["path"]: row for row in _rows(self.failed) if isinstance(row, dict) and "path" in row}

    @contextlib.contextmanager
    def marking(self) -> Iterator[Callable[[str, dict[str, Any] | None], None]]:
        """Open the logs; yields a function that appends a finished picture, or the row of a failed one.

        It writes to the system unbuffered, so that the row survives a kill.
        """
        with self.writing():
            self._done.touch()
            self.failed.touch()
        with _appending(self._done) as done, _appending(self.failed) as failed:

            def mark(name: str, failure: dict[str, Any] | None) -> None:
                log, row = (done, _row(name)) if failure is None else (failed, _row(failure))
                with self.writing():
                    os.write(log, row)

            yield mark

    @property
    def renewing(self) -> bool:
        """True while all translations are being made again, so that older ones do not count."""
        own = _job_in(self._job)
        return own is not None and bool(own["renewing"])

    @property
    def _place(self) -> str:
        return escaped(str(self.folder.parent))

    def _write_job(self, *, renewing: bool) -> None:
        parts = None if self._shard is None else [self._shard.number, self._shard.count]
        row = {"version": 1, "fingerprint": dict(self._fingerprint), "renewing": renewing, "shard": parts}
        with self.writing():
            atomic_write(self._job, (json.dumps(row, indent=2) + "\n").encode(), temporary_in=self.temporary)

    def _others(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("job*.json")):
            if path != self._job and (known := _job_in(path)) is not None:
                yield known

    def _is_sibling(self, known: Mapping[str, Any]) -> bool:
        return self._shard is not None and known["shard"] is not None and known["shard"][1] == self._shard.count

    def _supersede(self) -> None:
        """Delete records with other fingerprints, whose translations have all been replaced."""
        others = list(self._others())
        if self._shard is not None:
            siblings = [known for known in others if self._is_sibling(known) and not known["renewing"]]
            agreed = [known for known in siblings if not _differences(known["fingerprint"], self._fingerprint)]
            if len(agreed) < self._shard.count - 1:
                return  # left to the shard that finishes last
        for known in others:
            if _differences(known["fingerprint"], self._fingerprint):
                other = JobRecord(self.folder, None if known["shard"] is None else Shard(*known["shard"]))
                for path in (other._job, other._manifest, other._done, other.failed):
                    path.unlink(missing_ok=True)


def fingerprint_of(translator: Translator, settings: TranslationSettings, naming: Naming) -> Fingerprint:
    """Collect every setting that changes pixels or names of translations.

    It is stored in the records of users' folders. A translator made in memory has no direction; its weights identify
    it.
    """
    scales, direction = translator.scales, translator.direction
    return ({} if settings.model is None or direction is None else {"direction": direction.key}) | {
        "model": weights_sha256(translator.generator.state_dict()),
        "precision": str(translator.dtype).removeprefix("torch."),
        "range": scales.source.text if scales.target is None else f"{scales.source.text} to {scales.target.text}",
        "size": settings.io.size,
        "tile": "off" if settings.tile is None else settings.tile,
        "overlap": settings.overlap,
        "quality": settings.io.quality,
        "format": None if naming.format is None else naming.format.removeprefix("."),
        "suffix": naming.suffix,
        "flat": naming.flat,
    }


def failure_row(name: str, failure: Failure, source: str | None) -> dict[str, Any]:
    """Build the row of a failed picture. `source` is its file, recorded to detect changes."""
    row: dict[str, Any] = {"path": name, "error": failure.error, "reason": failure.reason}
    return row | {"file": identity_of(source)} if source is not None and failure.error in _LASTING else row


def is_known(row: Mapping[str, Any], source: str) -> bool:
    """Return whether a failure would recur: it is due to the picture, whose file is unchanged."""
    return row.get("file") is not None and row["file"] == identity_of(source)


def _differences(before: Fingerprint, now: Fingerprint) -> str:
    """Options in which two fingerprints differ, as text with the old values; empty if shared ones agree."""
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
        raise UsageError(f"DEST: {escaped(str(path))} is not a record of a job; remove it and give --overwrite")
    return known


def _row(value: Any) -> bytes:
    # ASCII: undecodable bytes are written as \udcXX, which os.fsencode restores
    return (json.dumps(value) + "\n").encode("ascii")


def _rows(path: Path) -> Iterator[Any]:
    """Rows of a file whose last line may be cut off; none if the file does not exist."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.endswith("\n"):
                with contextlib.suppress(ValueError, RecursionError):
                    yield json.loads(line)


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    """Open a file for appending rows, on a new line if its last line is cut off."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.write(handle, b"\n")
        yield handle
    finally:
        os.close(handle)
