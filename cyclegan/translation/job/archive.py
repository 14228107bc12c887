"""Tar archives such as WebDataset shards: listing pictures, and writing a translated copy.

Only uncompressed ones are accepted: a member is then a span of the file, which any process can read by itself.
"""

from __future__ import annotations

import copy
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cyclegan.errors import CycleganError, UsageError, reason_of
from cyclegan.images import escaped, is_image
from cyclegan.system.files import replacing
from cyclegan.translation.job.naming import cleaned
from cyclegan.translation.jobs import Failure

SUFFIX = ".tar"
BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
_CHUNK = 2**20  # bytes copied at a time


@dataclass(frozen=True)
class Member:
    """Archive member: bytes `start` to `end` of the archive, with its header."""

    info: tarfile.TarInfo
    start: int
    end: int

    @property
    def raw(self) -> str:
        """Name as stored in the archive."""
        return self.info.name

    @property
    def name(self) -> str:
        """Normalised relative name; valid only if `failure()` is None."""
        return cleaned(self.raw, absolute=False)

    @property
    def span(self) -> tuple[int, int]:
        """Offset and length of its content."""
        return self.info.offset_data, self.info.size

    @property
    def is_picture(self) -> bool:
        """True if it is named like a picture and not hidden."""
        parts = [part for part in self.raw.split("/") if part not in ("", ".", "..")]
        return not self.info.isdir() and is_image(self.raw) and not any(part.startswith(".") for part in parts)

    def failure(self) -> Failure | None:
        """Reason why it cannot be translated, whatever its content."""
        try:
            cleaned(self.raw, absolute=False)
        except ValueError as error:
            return Failure("ValueError", str(error))
        if not self.info.isreg() or self.info.issparse():
            return Failure("ValueError", "it is not a plain file in the archive, but a link, a device or a sparse file")
        return None


def refuse_compressed(source: str) -> None:
    """Raise `UsageError` for a compressed archive, which has no random access."""
    for suffix in _COMPRESSED:
        if source.lower().endswith(suffix):
            raise UsageError(f"SOURCE: {escaped(source)} is compressed; unpack it to a plain .tar first")


def members(path: str | os.PathLike[str]) -> Iterator[Member]:
    """Yield the members of an archive in order; `CycleganError` if it is damaged or not an archive."""
    shown = escaped(os.fspath(path))
    try:
        with tarfile.open(path, "r:") as tar:
            start = 0
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
                yield Member(info, start, tar.offset)  # offset is now that of the next
                start = tar.offset
        # Zeros or the end of the file, since `tarfile` takes a damaged header for the end
        with open(path, "rb") as stream:
            stream.seek(start)
            if stream.read(BLOCK).strip(b"\0"):
                raise tarfile.ReadError(f"what follows byte {start} is no member")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CycleganError(f"SOURCE: {shown} is no plain .tar, or damaged ({error}); fetch it again") from error
    except OSError as error:
        raise CycleganError(f"SOURCE: cannot read {shown} ({reason_of(error).lower()})") from error


def names_in(path: Path) -> set[str]:
    """Normalised relative names of the files in an archive."""
    return {member.name for member in members(path) if member.info.isreg() and member.failure() is None}


def assemble(
    source: str | os.PathLike[str], dest: Path, target: Callable[[str], str], spool: Path, *, renewed: bool
) -> None:
    """Write `dest` as a copy of `source`, in its order, with translations in place of pictures.

    Translations come from the folder `spool`, or from the existing archive unless all are `renewed`; pictures without
    one are left out. Other members are copied byte for byte.
    """
    before: dict[str, tuple[int, int]] = {}
    if dest.exists() and not renewed:
        before = {member.raw: member.span for member in members(dest)}
    with (
        replacing(dest, temporary_in=spool.parent) as temporary,
        open(temporary, "wb") as out,
        open(source, "rb") as old,
        open(dest if before else os.devnull, "rb") as earlier,
    ):
        for member in members(source):
            if not member.is_picture:
                _copy(old, member.start, member.end - member.start, out)
                continue
            if member.failure() is not None:
                continue
            made = target(member.name)
            lead = member.raw.removesuffix(member.name) if member.raw.endswith(member.name) else ""
            raw = lead + made  # with a leading ./ if its picture has one
            if (file := spool / made).exists():
                with open(file, "rb") as stream:
                    _put(member.info, raw, stream, 0, file.stat().st_size, out)
            elif raw in before:
                _put(member.info, raw, earlier, *before[raw], out)
        out.write(b"\0" * (2 * BLOCK))
        out.write(b"\0" * (-out.tell() % tarfile.RECORDSIZE))


def _put(info: tarfile.TarInfo, name: str, content: BinaryIO, offset: int, size: int, out: BinaryIO) -> None:
    """Write a member `name` with the times and permissions of `info`."""
    header = copy.copy(info)
    header.name, header.size = name, size
    header.pax_headers = {key: value for key, value in info.pax_headers.items() if key not in ("path", "size")}
    out.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    _copy(content, offset, size, out)
    out.write(b"\0" * (-size % BLOCK))


def _copy(source: BinaryIO, offset: int, size: int, out: BinaryIO) -> None:
    source.seek(offset)
    while size > 0:
        piece = source.read(min(size, _CHUNK))
        if not piece:
            raise CycleganError("SOURCE: the archive ends in the middle of a file; fetch it again")
        out.write(piece)
        size -= len(piece)
