"""Conditions of a measurement, and the figures that do not compare where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cyclegan.report.run_record import nested, number_of


@dataclass(frozen=True)
class Term:
    """A path in a protocol, and what does not compare where its values differ."""

    path: tuple[str, ...]
    plural: str
    consequence: str  # "… compare"
    figures: frozenset[str] | None = frozenset()  # that do not compare at all; None: all of them

    def differs(self, protocols: Iterable[Mapping[str, Any]]) -> bool:
        """True if two of the protocols name different values. What a protocol does not name is not held against it."""
        values = [_scalar(protocol, *self.path) for protocol in protocols]
        return any(one is not None and other is not None and one != other for one, other in combinations(values, 2))


_NONE = "none of the figures"
_CLASSES = "the shares of named classes do not", frozenset({"class_share"})
TERMS = (
    Term(
        ("judge", "sha256"),
        "judges",
        "the shares taken for the target or for neither do not",
        frozenset({"judge", "neither"}),
    ),
    Term(
        ("features", "sha256"),
        "features",
        "FID, KID and diversity do not",
        frozenset({"fid", "kid", "diversity", "nearest"}),
    ),
    Term(("classes", "names"), "named classes", *_CLASSES),
    Term(("classes", "sha256"), "networks of the named classes", *_CLASSES),
    Term(("size",), "picture sizes", _NONE, None),
    Term(("seed",), "seeds of the evaluations", "KID and cycles with noise only roughly"),
)


def terms_of_pictures(protocols: Sequence[Mapping[str, Any]]) -> Iterator[Term]:
    """A term for the held-out pictures of each domain."""
    roles = {str(role) for protocol in protocols for role in nested(protocol, "pictures") or ()}
    for role in sorted(role for role in roles if role.startswith("held out ")):
        subject = f"held-out pictures of {role.removeprefix('held out ')}"
        yield Term(("pictures", role, "names_sha256"), subject, _NONE, None)


def unlike(name: str, protocols: Sequence[Mapping[str, Any]], *, pictures: bool = True) -> bool:
    """True if the values of figure `name` under these protocols do not compare."""
    terms = (*TERMS, *terms_of_pictures(protocols)) if pictures else TERMS
    return any((term.figures is None or name in term.figures) and term.differs(protocols) for term in terms)


def _scalar(values: Mapping[str, Any], *keys: str) -> Any:
    value = nested(values, *keys)
    return value if isinstance(value, str) or number_of(value) is not None else None
