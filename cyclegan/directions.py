"""Directions of translation, and the spelling of their keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cyclegan.errors import UsageError

NOISE = "z"  # as a source: an n-vector instead of a picture
DEFAULT = "ab"  # key of the direction used if none is given


@dataclass(frozen=True)
class Direction:
    """Task of a generator: from one domain to another, or from noise to a domain."""

    source: str  # "a", "b", … or NOISE
    target: str

    @property
    def key(self) -> str:
        """The name in files, figures and on the command line: "ab", "zb"."""
        return self.source + self.target

    @property
    def from_noise(self) -> bool:
        return self.source == NOISE

    @property
    def reverse(self) -> Direction | None:
        """The opposite direction; None from noise."""
        return None if self.from_noise else Direction(self.target, self.source)

    @classmethod
    def parse(cls, key: str) -> Self:
        """Parse a key; `UsageError` for anything else."""
        if not re.fullmatch(r"[a-z]{2}", key) or key[0] == key[1] or key[1] == NOISE:
            raise UsageError(
                f"{key!r} is no direction; write the letter of the source and that of the target, such as ab"
            )
        return cls(key[0], key[1])

    @classmethod
    def choose(cls, held: Iterable[str], wanted: str | None, model: object) -> Self:
        """Choose `wanted` among the keys of `model`, else the only one, else ab; `UsageError` if it is missing."""
        known = list(held)
        key = wanted or (known[0] if len(known) == 1 else DEFAULT)
        if key not in known:
            raise UsageError(f"--direction {key}: {model} holds only {' and '.join(known)}; ask for that")
        return cls.parse(key)
