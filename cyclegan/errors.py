"""What may go wrong through no fault of ours, and the exit code each kind ends the command with.

A user's mistake is one sentence that names the option and the way out; it is raised as one of these and shown
without a traceback. A programmer's mistake is an assertion and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class CycleganError(Exception):
    """Something failed that the person at the keyboard can do something about."""

    exit_code = 1
    on_every_rank = False  # of several processes, each of which comes to it by itself
    already_reported = False  # by another process of several that end by it
    raised_on_all = False  # with all of several processes, each of which has it raised at the same place


class UsageError(CycleganError):
    """What was asked for cannot be done as it was asked."""

    exit_code = 2


class UnfinishedError(CycleganError):
    """The job ran to its end, but some of its items failed; each is named in the report."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when a known name is close to `name`, else a list of the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def lookup(table: Mapping[str, T], name: str, option: str) -> T:
    """The entry `name` of `table`, or a `UsageError` that names `option` and the nearest known entry."""
    if not isinstance(name, str):  # YAML has other things where a name should be
        raise UsageError(f"{option}: {name!r} is not text; use one of {', '.join(sorted(table))}")
    if name not in table:
        raise UsageError(f"{option}: unknown value {name!r}{did_you_mean(name, table)}")
    return table[name]
