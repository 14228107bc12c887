"""Names of translations: inside the destination and unique."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cyclegan.errors import UsageError
from cyclegan.images import EXTENSIONS, escaped, is_image

RECORD = ".cyclegan"  # folder in a destination that is reserved for the record

Fold = Callable[[str], str]


@dataclass(frozen=True)
class Naming:
    """Map from a picture's relative name, with forward slashes, to that of its translation."""

    format: str | None = None  # file suffix with its dot; None: that of the picture
    suffix: str = ""  # text before the dot
    flat: bool = False  # drop folders

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in EXTENSIONS:
            known = " ".join(extension.removeprefix(".") for extension in EXTENSIONS)
            raise UsageError(f"--format {self.format.removeprefix('.')}: unknown; use one of {known}")
        if "/" in self.suffix or "\0" in self.suffix:
            raise UsageError(f"--suffix {escaped(self.suffix)}: not valid in a file name; leave the slash out")

    @property
    def changes(self) -> bool:
        """True if names change, so that two of them may become equal."""
        return bool(self.format or self.suffix or self.flat)

    def target(self, name: str) -> str:
        """Name of the translation of `name`.

        Pictures are recognised by content and may have any suffix; an output file needs a known one.
        """
        folder, _, base = name.rpartition("/")
        stem, extension = os.path.splitext(base) if is_image(base) else (base, ".png")
        made = f"{stem}{self.suffix}{self.format or extension}"
        return made if self.flat or not folder else f"{folder}/{made}"


def cleaned(name: str, *, absolute: bool) -> str:
    """Normalise a relative path; `ValueError` with a readable reason if it leads out of its folder.

    With `absolute`, an absolute name loses its leading slash.
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
    """Part `number` of `count` of a job, counted from 1; names alone decide which pictures it has."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"--shard {self.number}/{self.count}: not one of {self.count} parts; count from 1")

    def holds(self, name: str) -> bool:
        """Return whether this part has the picture of this name."""
        digest = blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def refuse_clashes(named: Callable[[], Iterable[tuple[str, str]]], fold: Fold | None, where: str) -> None:
    """Raise `UsageError` if two of the (name, target) pairs of `named()` would become one file.

    `fold` maps names that the file system treats as equal to one; None: exact. `named` is called twice.
    """
    fold = fold or (lambda name: name)
    once: set[int] = set()
    twice: set[int] = set()
    for _, target in named():
        key = hash(fold(target))
        (twice if key in once else once).add(key)
    if not twice:
        return
    first: dict[str, tuple[str, str]] = {}
    clashes: list[tuple[str, str, str, str]] = []
    for name, target in named():
        folded = fold(target)
        if hash(folded) not in twice:
            continue
        if folded in first:
            clashes.append((*first[folded], name, target))
        else:
            first[folded] = (name, target)
    if not clashes:
        return
    name, target, other, other_target = map(escaped, clashes[0])
    more = f" ({len(clashes)} such pictures)" if len(clashes) > 1 else ""
    if target == other_target:
        raise UsageError(
            f"DEST: {name} and {other} would both become {target}{more}; "
            "leave out --format or --flat, or give them other names"
        )
    raise UsageError(
        f"DEST: {name} and {other} would become one file, since {where} takes {target} and {other_target} for the "
        f"same name{more}; give them other names, or name a DEST that tells them apart"
    )


def folding_of(folder: Path) -> Fold | None:
    """Detect how the file system of `folder`, which must be writable, folds names before comparing them.

    A probe file is looked up under other names: in capitals, and with é as one and as two code points.
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
