"""Dataclass fields that are also options: declaration, conversion and checks."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cyclegan.errors import UsageError

_SHOWN = 80  # characters of a wrong value that an error quotes
_TOO_LARGE = 2**63  # the libraries behind an option count in 64 bits


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    fixed: bool = False,
    metavar: str | None = None,
    words: Mapping[str, int] | None = None,
    pictures: bool = False,
) -> Any:
    """Declare a dataclass field that is also a command-line option.

    `fixed` options cannot change once a run has weights. `words` may be given instead of a number, and are stored as
    one below the `minimum`. `pictures` marks a folder of pictures, whose path may differ on another machine.
    """
    metadata = {"help": help, "minimum": minimum, "fixed": fixed, "metavar": metavar, "words": words or {}}
    return field(default=default, metadata=metadata | {"pictures": pictures})


@dataclass(frozen=True)
class NoOptions:
    """Empty set of options."""


@functools.cache
def types_of(owner: type) -> Mapping[str, Any]:
    """Types of a dataclass's fields, cached: its annotations are text, compiled at every call."""
    return get_type_hints(owner)


def convert(owner: type, name: str, value: Any) -> Any:
    """Convert `value` to the type of field `name` of dataclass `owner`; `UsageError` names the option."""
    wanted = types_of(owner)[name]
    choices = members_of(wanted)
    words = next(words_of(item) for item in fields(owner) if item.name == name)
    if isinstance(value, str) and value in words:
        return words[value]
    if value in words.values():
        raise UsageError(f"{flags([name])}: {value!r} is not a number to give; use {' or '.join(words)} for that")
    if value is None and type(None) in choices:
        return None
    for kind in choices:
        if get_origin(kind) is Literal:
            # YAML reads an unquoted off as False
            value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
            if value in get_args(kind):
                return value
        elif kind in (bool, str) and isinstance(value, kind):
            return value
        elif kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value  # not through float, which loses digits beyond 2^53
        elif kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)  # YAML reads 2e-4 as text
            except (ValueError, OverflowError):
                continue
            if kind is float and math.isfinite(number):
                return number
            if number.is_integer():
                return int(number)
    expected = " or ".join([*(_describe(kind) for kind in choices if kind is not type(None)), *words])
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    raise UsageError(f"{flags([name])}: {shown} is not {expected}")


def converted(owner: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The `values` that are fields of dataclass `owner`, converted, in the order of the fields."""
    return {item.name: convert(owner, item.name, values[item.name]) for item in fields(owner) if item.name in values}


def check_values(settings: Any) -> None:
    """Check types and minima of a dataclass of options; `UsageError` names the first that fails."""
    for item in fields(settings):
        if not item.metadata:
            continue
        value = getattr(settings, item.name)
        if value in words_of(item).values():
            continue
        convert(type(settings), item.name, value)
        if isinstance(value, int) and abs(value) >= _TOO_LARGE:
            raise UsageError(f"{flags([item.name])}: that number is too large; give one below 2^63")
        minimum = item.metadata["minimum"]
        if minimum is not None and value is not None and value < minimum:
            raise UsageError(f"{flags([item.name])} must be at least {minimum:g}, not {value:g}")


def words_of(item: Field[Any]) -> Mapping[str, int]:
    """Words that a field takes instead of a number, and the number stored for each."""
    return dict(item.metadata.get("words", {}))


def members_of(wanted: Any) -> tuple[Any, ...]:
    """The types that make up a union, or the one type itself."""
    return get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]


def flags(names: Iterable[str]) -> str:
    """Command-line options of field names, as text for a message."""
    return ", ".join("--" + name.replace("_", "-") for name in sorted(names))
