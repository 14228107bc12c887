"""Types of option values: numbers or words, memory, parts of a job, suffixes."""

from __future__ import annotations

import re

import click


class NumberOr(click.ParamType):
    """A whole number of at least `least`, or one of `words`."""

    def __init__(self, *words: str, least: int = 1) -> None:
        self._words, self._least = words, least
        self.name = " or ".join(["integer", *words])

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if value in self._words:
            return str(value)
        words = " nor ".join(self._words)
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither {words} nor a whole number.", param, ctx)
        if number < self._least:
            either = " or ".join(self._words)
            self.fail(f"{number} is less than {self._least}; use {either} or a number from {self._least}.", param, ctx)
        return number


class Memory(click.ParamType):
    """An amount of memory, such as 4GB, in bytes; the units are powers of 1024."""

    name = "size"
    _units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is not an amount of memory; write 500MB or 4GB.", param, ctx)
        return int(float(found[1]) * self._units[found[2].upper()])


class Part(click.ParamType):
    """Part I of N of a job, I/N, as the pair (I, N)."""

    name = "i/n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not a part of a job; write 1/3 for the first of three.", param, ctx)
        return int(found[1]), int(found[2])


class Suffix(click.ParamType):
    """A file suffix, given with or without its dot, as lower case with the dot."""

    name = "suffix"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return "." + str(value).removeprefix(".").lower()
