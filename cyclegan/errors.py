"""Expected errors and the exit code of each.

A user error is one sentence that names the option and a remedy. It is raised as one of these classes and shown
without a traceback. A programming error is an assertion and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class CycleganError(Exception):
    """A failure that the user can act on."""

    exit_code = 1
    on_every_rank = False  # every rank finds this error by itself
    already_reported = False  # another rank has printed it
    raised_on_all = False  # a collective has raised it at the same place on every rank


class UsageError(CycleganError):
    """An invalid request: an option, file or combination that cannot work."""

    exit_code = 2


class UnfinishedError(CycleganError):
    """A job that ran to its end with failed items, each named in the report."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """First line of an error, or its type if empty; for a multi-line pydantic report, the field and its fault."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def reason_of(error: BaseException) -> str:
    """System message of an `OSError` ("No space left on device"), without number and path; else its first line."""
    return getattr(error, "strerror", None) or first_line(error)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` if a known name is close to `name`, else a list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def lookup(table: Mapping[str, T], name: str, option: str) -> T:
    """The entry `name` of `table`, or a `UsageError` that names `option` and the nearest known entry."""
    if not isinstance(name, str):  # YAML may hold another type here
        raise UsageError(f"{option}: {name!r} is not text; use one of {', '.join(sorted(table))}")
    if name not in table:
        raise UsageError(f"{option}: unknown value {name!r}{did_you_mean(name, table)}")
    return table[name]
