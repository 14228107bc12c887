"""Channels, depth and range of the pictures of a run, found before it starts."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cyclegan.config import TrainConfig
from cyclegan.data.loading.regions import is_large, sampled_parts
from cyclegan.data.sets import FileList, PictureSets
from cyclegan.errors import UsageError
from cyclegan.images import Header, Picture, UnreadableImage, escaped, hiding, read_header, read_picture, with_channels
from cyclegan.images.ranges import Fixed, Full, RangeRule, full_range, parse_range

HEADERS = 256  # headers read per domain to find channels and depth
MEASURED = 32  # pictures decoded per domain to measure minmax and percentile
CHECKED = 8  # pictures decoded per domain to detect a range that is far too wide
_NARROW = 1 / 4  # of the range; 12-bit numbers in 16 bits use 1/16 and would look nearly black

BYTES = np.dtype(np.uint8)
FRACTIONS = np.dtype(np.float32)
FULL = Full()

log = logging.getLogger("cyclegan")


class _Survey(NamedTuple):
    """The pictures of a domain, the headers of some, and the option that names their folder."""

    option: str
    pictures: FileList
    headers: dict[Path, Header]


def find_kinds(
    config: TrainConfig, sets: PictureSets, kept: Mapping[str, Any] | None = None, *, equal_channels: bool = True
) -> dict[str, InputKind]:
    """The input kind of each domain, from up to 256 evenly spread headers of each.

    Grey pictures have one channel, a mixture of grey and RGB in a domain has three, pictures of n channels have n. With
    `equal_channels` a grey domain beside an RGB one has three as well. `--range minmax` or `percentile` decodes up to
    32 pictures of each domain. `kept` is the record (`record_of`) of a resumed run: its ranges are reused, and its
    channels must still fit.

    Raises `UsageError` for an invalid range, for mixtures that cannot be trained on, and for pictures with other
    channels than in the resumed run.
    """
    rule = parse_range(config.range)
    surveys = {
        domain: _Survey(config.option_of(domain), pictures, _headers(pictures))
        for domain, pictures in sets.train.items()
    }
    channels = {domain: _channels(survey) for domain, survey in surveys.items()}
    if equal_channels and set(channels.values()) == {1, 3}:
        channels = dict.fromkeys(channels, 3)
    types = {header.dtype for survey in surveys.values() for header in survey.headers.values()}
    stored = None
    if kept is not None:
        for domain, survey in surveys.items():
            before = kept["channels"].get(domain, channels[domain])
            channels[domain] = _kept_channels(survey, channels[domain], before)
        rules, stored = kept_rules(kept["ranges"], tuple(surveys))
    elif isinstance(rule, Full):
        for survey in surveys.values():
            _require_full_ranges(survey)
        rules = dict.fromkeys(surveys, FULL)
        for survey in surveys.values():
            _warn_if_full_range_does_not_fit(survey)
    else:
        rules, stored = _measured(rule, surveys), next(iter(types)) if len(types) == 1 else None
    as_stored = types <= {BYTES} and all(isinstance(each, Full) for each in rules.values())
    dtype = BYTES if as_stored else FRACTIONS
    return {domain: InputKind(channels[domain], dtype, rules[domain], stored) for domain in surveys}


def spread(count: int, most: int) -> range:
    """Up to `most` of the numbers below `count`, evenly spread and always the same."""
    return range(0, count, max(-(-count // most), 1))


def _headers(pictures: FileList) -> dict[Path, Header]:
    found = {}
    for index in spread(len(pictures), HEADERS):
        path = pictures.path(index)
        with contextlib.suppress(UnreadableImage):  # reported when training reads it
            found[path] = read_header(path)
    return found


def _channels(survey: _Survey) -> int:
    counts = Counter(header.channels for header in survey.headers.values())
    if len(counts) < 2:
        return next(iter(counts), 3)
    if counts.keys() == {1, 3}:
        return 3
    names = {header.channels: escaped(path.name) for path, header in reversed(survey.headers.items())}
    examples = ", ".join(f"{number} of {channels} ({names[channels]})" for channels, number in sorted(counts.items()))
    raise UsageError(
        f"{survey.option}: the pictures in {survey.pictures.root} differ in their channels: {examples}; "
        "keep those of one kind (`cyclegan data check` lists them)"
    )


def _kept_channels(survey: _Survey, found: int, before: int) -> int:
    """The channels that the run was begun with; grey pictures may be shown in three."""
    if found != before and (found, before) != (1, 3):
        raise UsageError(
            f"{survey.option}: the pictures in {survey.pictures.root} have {found} channels and this run was "
            f"begun with {before}; give it such pictures, or another -o"
        )
    return before


def _require_full_ranges(survey: _Survey) -> None:
    for path, header in survey.headers.items():
        try:
            full_range(header.dtype)
        except ValueError as error:
            raise UsageError(f"--range full: {escaped(str(path))}: {error}") from None


def _measured(rule: RangeRule, surveys: Mapping[str, _Survey]) -> dict[str, RangeRule]:
    """The range of each domain as two numbers, rounded to the nine digits that are stored."""
    examples = {header.dtype: path for survey in surveys.values() for path, header in survey.headers.items()}
    if len(examples) > 1 and not isinstance(rule, Fixed):
        listed = " and ".join(f"{dtype} ({escaped(path.name)})" for dtype, path in examples.items())
        raise UsageError(
            f"--range {rule.text}: the pictures are stored as {listed}, so no single range can be measured for them; "
            "give --range full or LO,HI, or convert them to one kind"
        )
    rules: dict[str, RangeRule] = {}
    for domain, (_, pictures, _) in surveys.items():
        try:
            found = rule.of(_numbers(pictures, MEASURED))  # a fixed range reads none
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
    """Stored numbers of up to `most` pictures, of large ones in nine crops.

    Fully transparent pixels are left out. `ValueError` if no picture can be read.
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
        raise ValueError("none of the sampled pictures can be read")


def _warn_if_full_range_does_not_fit(survey: _Survey) -> None:
    """Warn where numbers of more than 8 bits fill little of their type, or fractions reach beyond 1."""
    types = {header.dtype for header in survey.headers.values()}
    if len(types) != 1 or types == {BYTES}:
        return  # a mixture does not fit into one sentence; `cyclegan data check` reports each part
    (dtype,) = types
    scale = full_range(dtype)
    try:
        found = parse_range("minmax").of(_numbers(survey.pictures, CHECKED))
    except ValueError:
        return  # reported when training reads them
    if found.low < scale.low or found.high > scale.high:
        fault = f", and what lies outside {scale.low:g} and {scale.high:g} is cut off"
    elif found.high - found.low < _NARROW * (scale.high - scale.low):
        fault = f", a small part of {dtype}: nearly one grey to the networks"
    else:
        return
    log.warning(
        "%s: the numbers of the pictures in %s lie between %g and %g%s; give --range minmax, percentile:1,99 or %s",
        survey.option,
        survey.pictures.root,
        found.low,
        found.high,
        fault,
        f"{found.low:.9g},{found.high:.9g}",
    )


@dataclass(frozen=True)
class InputKind:
    """Format of the network inputs of one domain.

    `dtype` is the type of a loaded picture: uint8 from 0 to 255 if all of a run are stored so, else float32 from 0, the
    low end of the range, to 1, the high end. `stored` is the stored type that `rule` applies to; None: any.
    """

    channels: int = 3
    dtype: np.dtype = BYTES
    rule: RangeRule = FULL
    stored: np.dtype | None = None

    def of(self, picture: Picture) -> np.ndarray:
        """Convert `picture` to HWC of `dtype` and `channels`, white where it is fully transparent.

        Partly transparent pixels show their stored colour. A uint8 picture that stays uint8 is not copied unless a
        pixel changes. Raises `ValueError` with a readable reason.
        """
        if self.stored not in (None, picture.pixels.dtype):
            raise ValueError(f"its numbers are {picture.pixels.dtype}, but the range of this run is of {self.stored}")
        scale, full = self.rule.of([picture.pixels]), full_range(BYTES)
        shown = with_channels(picture.pixels, self.channels)
        if self.dtype == FRACTIONS:
            shown = scale.to_unit(shown)
            shown += 1
            shown /= 2
        elif shown.dtype != BYTES or scale != full:
            shown = full.from_unit(scale.to_unit(shown), BYTES)
        return hiding(shown, picture.alpha, 255 if self.dtype == BYTES else 1)

    @property
    def depends_on(self) -> tuple[str | int, ...]:
        """The parameters of the conversion, as values that print the same everywhere."""
        return self.channels, str(self.dtype), self.rule.text, str(self.stored)


InputKinds = Mapping[str, InputKind]  # by domain
PLAIN = InputKind()  # 8-bit RGB


def ranges_of(kinds: InputKinds) -> dict[str, Any] | None:
    """The ranges as a model stores them: `{"a": "100,4000", "b": "0,255", "dtype": "uint16"}`.

    None if every picture is scaled by the full range of its type. "dtype" is None if the ranges apply to any type.
    """
    if all(isinstance(kind.rule, Full) for kind in kinds.values()):
        return None
    (stored,) = {kind.stored for kind in kinds.values()}
    texts = {domain: kind.rule.text for domain, kind in kinds.items()}
    return texts | {"dtype": None if stored is None else str(stored)}


def record_of(kinds: InputKinds) -> dict[str, Any]:
    """The kinds as a run stores them in JSON, so that resuming it measures nothing again."""
    return {"channels": {domain: kind.channels for domain, kind in kinds.items()}, "ranges": ranges_of(kinds)}


def kept_rules(
    ranges: Mapping[str, Any] | None, domains: tuple[str, ...]
) -> tuple[dict[str, RangeRule], np.dtype | None]:
    """The rule of each domain from `ranges_of`, and the stored type that it applies to."""
    if ranges is None:
        return dict.fromkeys(domains, FULL), None
    stored = None if ranges["dtype"] is None else np.dtype(ranges["dtype"])
    return {domain: parse_range(str(ranges.get(domain, FULL.text))) for domain in domains}, stored
