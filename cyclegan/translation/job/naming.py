"""What a translation is called: below its destination, never above it, and no two alike."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cyclegan.errors import UsageError
from cyclegan.images import EXTENSIONS, escaped, is_image

RECORD = ".cyclegan"  # the folder in a destination that is not for pictures

Fold = Callable[[str], str]


@dataclass(frozen=True)
class Naming:
    """From the name of a picture, relative and with forward slashes, to that of its translation."""

    format: str | None = None  # a suffix with its dot; None: that of the picture
    suffix: str = ""  # before the dot
    flat: bool = False  # without folders

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in EXTENSIONS:
            known = " ".join(extension.removeprefix(".") for extension in EXTENSIONS)
            raise UsageError(f"--format {self.format.removeprefix('.')}: unknown; use one of {known}")
        if "/" in self.suffix or "\0" in self.suffix:
            raise UsageError(f"--suffix {escaped(self.suffix)}: is no part of a file name; leave the slash out")

    @property
    def changes(self) -> bool:
        """Whether any name becomes another, so that two names could become one."""
        return bool(self.format or self.suffix or self.flat)

    def target(self, name: str) -> str:
        """The name of the translation of `name`.

        A picture is known by its content, so its name may end in anything; what is written needs a known suffix.
        """
        folder, _, base = name.rpartition("/")
        stem, extension = os.path.splitext(base) if is_image(base) else (base, ".png")
        made = f"{stem}{self.suffix}{self.format or extension}"
        return made if self.flat or not folder else f"{folder}/{made}"


def cleaned(name: str, *, absolute: bool) -> str:
    """`name` without what means nothing in a path; `ValueError`, in words, for one that would lead out of a folder.

    Absolute ones lose their leading slash where they are allowed.
    """
    if name.startswith("/") and not absolute:
        raise ValueError("its name is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("its name leads out of the folder, by ..")
    if not parts:
        raise ValueError("it has no name")
    if parts[0] == RECORD:
        raise ValueError(f"names below {RECORD} are for the record of the job")
    return "/".join(parts)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a job, counted from 1; which pictures are in it depends on their names alone."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"--shard {self.number}/{self.count}: is none of {self.count} parts; count from 1")

    def holds(self, name: str) -> bool:
        """Whether the picture of this name is in this part."""
        digest = blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def refuse_clashes(named: Callable[[], Iterable[tuple[str, str]]], fold: Fold | None, where: str) -> None:
    """`UsageError` if two of the pictures that `named()` gives, each with its target, would become one file.

    `fold` makes equal what the file system takes for equal; None: only what is. `named` is asked again for the words.
    """
    once: set[int] = set()
    twice: set[int] = set()
    for _, target in named():
        key = hash(target if fold is None else fold(target))
        (twice if key in once else once).add(key)
    if not twice:
        return
    first: dict[str, tuple[str, str]] = {}
    clashes: list[tuple[str, str, str, str]] = []
    for name, target in named():
        folded = target if fold is None else fold(target)
        if hash(folded) not in twice:
            continue
        if folded in first:
            clashes.append((*first[folded], name, target))
        else:
            first[folded] = (name, target)
    if clashes:
        raise UsageError(_sentence(clashes, where))


def _sentence(clashes: list[tuple[str, str, str, str]], where: str) -> str:
    name, target, other, other_target = map(escaped, clashes[0])
    more = f" ({len(clashes)} such pictures)" if len(clashes) > 1 else ""
    if target == other_target:
        return (
            f"DEST: {name} and {other} would both become {target}{more}; "
            "leave out --format or --flat, or give them other names"
        )
    return (
        f"DEST: {name} and {other} would become one file, since {where} takes {target} and {other_target} for the "
        f"same name{more}; give them other names, or name a DEST that tells them apart"
    )


def folding_of(folder: Path) -> Fold | None:
    """What the file system of `folder`, which is ours to write to, does to names before it compares them.

    Found out by asking for a file under other names: in capitals, and with its letter é in one and in two signs.
    """
    probe = folder / "probe-\u00e9"
    probe.touch()
    try:
        capitals = os.path.lexists(folder / "PROBE-\u00c9")
        forms = os.path.lexists(folder / "probe-e\u0301")
    finally:
        probe.unlink()
    if capitals:
        return lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    if forms:
        return lambda name: unicodedata.normalize("NFC", name)
    return None
