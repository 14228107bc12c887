"""What the pictures of a run are, found by looking at some of them before it starts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.config import TrainConfig
from cyclegan.data.loading.regions import is_large, sampled_parts
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.errors import UsageError
from cyclegan.images import (
    Full,
    Header,
    Picture,
    Range,
    RangeRule,
    UnreadableImage,
    escaped,
    full_range,
    hiding,
    parse_range,
    read_header,
    read_picture,
    with_channels,
)
from cyclegan.images.ranges import Fixed

HEADERS = 256  # pictures of each domain whose headers tell channels and depth
MEASURED = 32  # pictures of each domain that minmax and percentile are found from
GLANCED = 8  # pictures of each domain by which a range that is far too wide is noticed
_NARROW = 1 / 4  # of the range; 12-bit numbers in 16 bits use 1/16 and would look all but black

log = logging.getLogger("cyclegan")

_Headers = dict[Path, Header]


def find_kinds(
    config: TrainConfig, sets: PictureSets, kept: Mapping[str, Any] | None = None, *, equal_channels: bool = True
) -> dict[str, InputKind]:
    """The input kind of each domain, from the headers of up to 256 of each, spread evenly.

    All grey is one channel, grey and RGB together in one domain are three, n channels everywhere are n. With
    `equal_channels` a grey domain beside an RGB one is shown in three as well. With `--range minmax` or `percentile` up
    to 32 pictures of each domain are decoded. `kept` is what a run that is gone on with has recorded (`record_of`): its
    ranges are taken over, and its channels must still fit.

    Raises `UsageError` for a range that is none, for mixtures that cannot be learnt from, and where the pictures have
    other channels than the run that is gone on with.
    """
    rule = parse_range(config.range)
    folders = sets.train
    headers = {domain: _headers(pictures) for domain, pictures in folders.items()}
    flags = {domain: config.option_of(domain) for domain in folders}
    found = _channels(headers, folders, flags)
    if equal_channels and set(found.values()) == {1, 3}:
        found = dict.fromkeys(found, 3)
    channels = found if kept is None else _kept_channels(found, kept["channels"], folders, flags)
    types = {header.dtype for found in headers.values() for header in found.values()}
    if kept is not None:
        rules, stored = kept_rules(kept["ranges"], tuple(folders))
    elif isinstance(rule, Full):
        rules, stored = _full(headers), None
        for domain, some in headers.items():
            _warn_where_full_does_not_fit(some, folders[domain], flags[domain])
    else:
        rules, stored = _measured(rule, headers, folders), next(iter(types)) if len(types) == 1 else None
    as_stored = types <= {BYTES} and all(isinstance(each, Full) for each in rules.values())
    dtype = BYTES if as_stored else FRACTIONS
    return {domain: InputKind(channels[domain], dtype, rules[domain], stored) for domain in folders}


def spread(count: int, most: int) -> range:
    """Up to `most` of the numbers below `count`, evenly spread and always the same."""
    return range(0, count, max(-(-count // most), 1))


def _headers(pictures: FileList) -> _Headers:
    """The headers that can be read; what is wrong with the others is said when training comes to them."""
    found: _Headers = {}
    for index in spread(len(pictures), HEADERS):
        path = pictures.path(index)
        try:
            found[path] = read_header(path)
        except UnreadableImage:
            continue
    return found


def _channels(
    headers: Mapping[str, _Headers], folders: Mapping[str, FileList], flags: Mapping[str, str]
) -> dict[str, int]:
    found: dict[str, int] = {}
    for domain, headers_here in headers.items():
        counts = Counter(header.channels for header in headers_here.values())
        if len(counts) < 2:
            found[domain] = next(iter(counts), 3)
        elif counts.keys() == {1, 3}:
            found[domain] = 3
        else:
            examples = ", ".join(
                f"{number} of {channels} ({_example(headers_here, channels)})"
                for channels, number in sorted(counts.items())
            )
            raise UsageError(
                f"{flags[domain]}: the pictures in {folders[domain].root} differ in their channels: {examples}; "
                "keep those of one kind (`cyclegan data check` lists them)"
            )
    return found


def _kept_channels(
    found: Mapping[str, int], kept: Mapping[str, int], folders: Mapping[str, FileList], flags: Mapping[str, str]
) -> dict[str, int]:
    """The kinds that the run was begun with; a domain that it lacked has what was found, refused elsewhere."""
    before = {domain: kept.get(domain, channels) for domain, channels in found.items()}
    for domain, channels in found.items():
        if channels != before[domain] and (channels, before[domain]) != (1, 3):
            raise UsageError(
                f"{flags[domain]}: the pictures in {folders[domain].root} have {channels} channels and this run was "
                f"begun with {before[domain]}; give it such pictures, or another -o"
            )
    return before


def _example(headers: _Headers, channels: int) -> str:
    return escaped(next(path.name for path, header in headers.items() if header.channels == channels))


def _full(headers: Mapping[str, _Headers]) -> dict[str, RangeRule]:
    for found in headers.values():
        for path, header in found.items():
            try:
                full_range(header.dtype)
            except ValueError as error:
                raise UsageError(f"--range full: {escaped(str(path))}: {error}") from None
    return dict.fromkeys(headers, FULL)


def _measured(
    rule: RangeRule, headers: Mapping[str, _Headers], folders: Mapping[str, FileList]
) -> dict[str, RangeRule]:
    """The range of each domain as two numbers, rounded to what is kept of them: nine digits."""
    examples = {header.dtype: path for found in headers.values() for path, header in found.items()}
    if len(examples) > 1 and not isinstance(rule, Fixed):
        listed = " and ".join(f"{dtype} ({escaped(path.name)})" for dtype, path in examples.items())
        raise UsageError(
            f"--range {rule.text}: the pictures are stored as {listed}, and no one range can be measured for them; "
            "give --range full or LO,HI, or convert them to one kind"
        )
    rules: dict[str, RangeRule] = {}
    for domain, pictures in folders.items():
        try:
            found = rule.of(_numbers(pictures, MEASURED))  # two given numbers look at nothing
        except ValueError as error:
            raise UsageError(
                f"--range {rule.text}: nothing can be measured in {pictures.root} ({error}); give --range LO,HI"
            ) from None
        text = f"{found.low:.9g},{found.high:.9g}"
        rules[domain] = parse_range(text)
        if not isinstance(rule, Fixed):
            log.info("--range %s: %s in %s", rule.text, text, pictures.root)
    return rules


def _numbers(pictures: FileList, most: int) -> Iterator[np.ndarray]:
    """The stored numbers of some pictures, of large ones those of nine squares, without what is not to be seen.

    `ValueError` where none of them can be read.
    """
    read = 0
    for index in spread(len(pictures), most):
        path = pictures.path(index)
        try:
            parts = sampled_parts(path) if is_large(read_header(path)) else [read_picture(path)]
        except UnreadableImage:
            continue
        read += 1
        for part in parts:
            yield part.pixels if part.alpha is None else part.pixels[part.alpha != 0]
    if not read:
        raise ValueError("none of the pictures looked at can be read")


def _warn_where_full_does_not_fit(headers: _Headers, pictures: FileList, flag: str) -> None:
    """Say so where the numbers of a type that holds more than 8 bits fill little of it, or fractions reach beyond 1."""
    deep = {header.dtype for header in headers.values()} - {BYTES}
    if len(deep) != 1 or any(header.dtype == BYTES for header in headers.values()):
        return  # of a mixture nothing can be said in one sentence; `cyclegan data check` says what each part holds
    (dtype,) = deep
    scale = full_range(dtype)
    try:
        found = parse_range("minmax").of(_numbers(pictures, GLANCED))
    except ValueError:
        return  # said when training comes to them
    text = f"{found.low:.9g},{found.high:.9g}"
    where = f"{flag}: the numbers of the pictures in {pictures.root} lie between {found.low:g} and {found.high:g}"
    if found.low < scale.low or found.high > scale.high:
        log.warning(
            "%s, and what lies outside %g and %g is cut off; give --range minmax, percentile:1,99 or %s",
            where,
            scale.low,
            scale.high,
            text,
        )
    elif found.high - found.low < _NARROW * (scale.high - scale.low):
        log.warning(
            "%s, a small part of %s: nearly one grey to the networks; give --range minmax, percentile:1,99 or %s",
            where,
            dtype,
            text,
        )


BYTES = np.dtype(np.uint8)
FRACTIONS = np.dtype(np.float32)
FULL = Full()


@dataclass(frozen=True)
class InputKind:
    """The form in which the pictures of one domain reach the networks.

    `dtype` is what a picture travels as: uint8 from 0 to 255 where all of a run are stored so, else float32 from 0,
    the low end of the range, to 1, the high one. `stored` is the type that the numbers of `rule` belong to; None: any.
    """

    channels: int = 3
    dtype: np.dtype = BYTES
    rule: RangeRule = FULL
    stored: np.dtype | None = None

    def of(self, picture: Picture) -> np.ndarray:
        """`picture` as HWC of `dtype` and `channels`, white where it is wholly transparent.

        Of partly transparent pixels the stored colour is shown. A uint8 picture shown as bytes is not copied unless
        something in it changes. Raises `ValueError`, in words, for what cannot be shown so.
        """
        if self.stored not in (None, picture.pixels.dtype):
            raise ValueError(
                f"its numbers are {picture.pixels.dtype} and this run learns from a range of {self.stored}"
            )
        scale = self.rule.of([picture.pixels])
        shown = self._scaled(with_channels(picture.pixels, self.channels), scale)
        return hiding(shown, picture.alpha, 255 if self.dtype == BYTES else 1)

    @property
    def depends_on(self) -> tuple[str | int, ...]:
        """All that the converted array depends on, in values that print the same everywhere."""
        return self.channels, str(self.dtype), self.rule.text, str(self.stored)

    def _scaled(self, pixels: np.ndarray, scale: Range) -> np.ndarray:
        bytes_ = full_range(BYTES)
        if self.dtype == BYTES:
            same = pixels.dtype == BYTES and scale == bytes_
            return pixels if same else bytes_.from_unit(scale.to_unit(pixels), BYTES)
        fractions = scale.to_unit(pixels)
        fractions += 1
        fractions /= 2
        return fractions


InputKinds = Mapping[str, InputKind]  # by domain
PLAIN = InputKind()  # 8-bit RGB


def ranges_of(kinds: InputKinds) -> dict[str, Any] | None:
    """The ranges as a model stores them: `{"a": "100,4000", "b": "0,255", "dtype": "uint16"}`.

    None where each picture is scaled by all that its type can hold, which needs no keeping. The type is None where
    the numbers hold for any.
    """
    if all(isinstance(kind.rule, Full) for kind in kinds.values()):
        return None
    (stored,) = {kind.stored for kind in kinds.values()}
    return {domain: kind.rule.text for domain, kind in kinds.items()} | {
        "dtype": None if stored is None else str(stored)
    }


def record_of(kinds: InputKinds) -> dict[str, Any]:
    """The kinds as a run stores them in JSON, so that going on with it measures nothing again."""
    return {"channels": {domain: kind.channels for domain, kind in kinds.items()}, "ranges": ranges_of(kinds)}


def kept_rules(
    ranges: Mapping[str, Any] | None, domains: tuple[str, ...]
) -> tuple[dict[str, RangeRule], np.dtype | None]:
    """By domain the rule that `ranges_of` has kept, and the type that its numbers belong to."""
    if ranges is None:
        return dict.fromkeys(domains, FULL), None
    stored = None if ranges["dtype"] is None else np.dtype(ranges["dtype"])
    return {domain: parse_range(str(ranges.get(domain, FULL.text))) for domain in domains}, stored
