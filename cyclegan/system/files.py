"""Atomic writes, checksums and locks.

Every file that must survive a crash is written by `atomic_write`: a reader sees the old content or the new one,
never a part, and a completed write survives a power failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cyclegan.errors import CycleganError, UsageError, reason_of

TEMPORARY_PREFIX = ".tmp-"  # hidden, so that listings of pictures skip unfinished files


def atomic_write(
    path: str | os.PathLike[str],
    *data: bytes | memoryview,
    durable: bool = True,
    temporary_in: str | os.PathLike[str] | None = None,
) -> None:
    """Write `data` to `path` so that the file is either the old one or the whole new one.

    Temporary name in the same folder, write, fsync, rename, fsync of the folder. `durable=False` leaves out the fsyncs,
    which take five times as long as the rest for a small file; use it if a loss in a power cut does not matter.
    `temporary_in` is another folder of the same file system for the temporary name. Raises `OSError` (a full disk, no
    permission) with the old file intact and the temporary one removed.
    """
    with replacing(path, durable=durable, temporary_in=temporary_in) as temporary, open(temporary, "wb") as stream:
        for part in data:
            stream.write(part)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], *, durable: bool = True, temporary_in: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """A temporary file that replaces `path` when the context ends without error.

    As `atomic_write`, for files written piece by piece. The temporary name has no suffix, so that it is never listed
    as a picture. A context that ends with an error leaves no file behind.
    """
    path = Path(path)
    folder = path.parent if temporary_in is None else Path(temporary_in)
    temporary = folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    try:
        # Created here, so that the umask alone sets its permissions; O_EXCL never overwrites a file
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync(path.parent)


@contextlib.contextmanager
def named_by_text(path: Path) -> Iterator[Path]:
    """`path`, or /proc/self/fd/N where its name is not valid text, for libraries that need text."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:  # only where names are bytes; Linux names open files by descriptor
        with open(path, "rb") as stream:
            yield Path(f"/proc/self/fd/{stream.fileno()}")
    else:
        yield path


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` atomically as indented JSON.

    Undecodable bytes of file names, which Python holds as lone surrogates, are written as JSON escapes.
    """
    atomic_write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, in hexadecimal, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_temporary(folder: str | os.PathLike[str]) -> None:
    """Delete leftovers of killed `atomic_write` calls; only the holder of the folder's lock may."""
    for stray in Path(folder).glob(TEMPORARY_PREFIX + "*"):
        stray.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str], option: str) -> Path:
    """`path` as an existing, writable folder, or a `UsageError` that names `option`."""
    path = Path(path)
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:  # a new folder whose name is not synced would be lost with all files synced into it
            _sync(folder.parent)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise UsageError(f"{option}: {path} is a file, not a folder; name another place") from None
    except OSError as error:
        reason = reason_of(error).lower()
        raise UsageError(f"{option}: cannot write to {path} ({reason}); name a folder you may write to") from None
    return path


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], name: str = ".lock", option: str = "-o") -> Iterator[None]:
    """Lock `folder` for this process; `CycleganError` names the holder where another has it.

    The operating system holds the lock, so it ends with the process, however that ends. Locks of different `name`s are
    independent.
    """
    path = Path(folder) / name
    holder = Path(folder) / f"{name}-holder"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = holder.read_text().strip() if holder.exists() else "another process"
        raise CycleganError(f"{folder} is in use by {owner}; wait for it, or give {option} another folder") from None
    try:
        with contextlib.suppress(OSError):  # only for the error message of another process; the lock holds without it
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder has been made read-only; the lock is released all the same
            holder.unlink(missing_ok=True)
        lock.release()


def cache_folder() -> Path:
    """Folder for reproducible files: $CYCLEGAN_CACHE, or cyclegan below $XDG_CACHE_HOME or ~/.cache.

    It may not exist or not be writable.
    """
    if own := os.environ.get("CYCLEGAN_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # a user without a home directory, as in some containers
        base = tempfile.gettempdir()
    return Path(base).absolute() / "cyclegan"


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
