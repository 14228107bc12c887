"""Texts and small tables of a page: status, verdict of the judge, protocol, data, configuration, origin."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cyclegan.config import PICTURE_FOLDERS, TrainConfig
from cyclegan.figures import SURE, domain_name, key_of, wilson
from cyclegan.report.run_record import RunRecord, mapping, nested, number_of, whole
from cyclegan.report.tables import Column, columns

DEFAULTS = {item.name: item.default for item in fields(TrainConfig) if item.name != "options"}
_STATUS = {"done": "done", "running": "running", "preempted": "stopped", "failed": "failed"}


def status(record: RunRecord) -> tuple[str, str]:
    """Status of the run in one word, and the reason for it, which may be empty."""
    return _STATUS.get(str(record.status.get("status")), "unknown"), str(record.status.get("reason") or "")


def facts(record: RunRecord) -> list[str]:
    """Progress, duration, date and networks, each in a few words."""
    steps = number_of(record.status.get("steps")) or number_of(record.config.get("steps"))
    parts = [f"{record.step:,} steps" if not steps or steps <= record.step else f"step {record.step:,} of {steps:,.0f}"]
    if record.seconds:
        parts.append(f"{duration(record.seconds)} of training")
    created = number_of(record.meta.get("created"))
    if created is not None:
        parts.append(f"begun {day(created)}")
    if record.config.get("generator"):
        parts.append(f"{record.config['generator']}, {record.config.get('crop_size')} px")
    return parts


def judge_verdicts(record: RunRecord) -> list[dict[str, Any]]:
    """Verdict of the judge on the last and the best generators, by direction."""
    found, shown = columns(record), []
    for direction in record.directions if found else ():
        keys = [key_of(f"judge{part}", direction) for part in ("", "_real", "_source")]
        share, real, untranslated = (number_of(found[0].figures.get(key)) for key in keys)
        if share is None:
            continue
        source, target = (domain_name(domain, record.domains) for domain in (direction.source, direction.target))
        references = ((untranslated, f"untranslated {source}"), (real, f"real {target}"))
        neither = number_of(found[0].figures.get(key_of("neither", direction)))  # a judge of before had no third class
        parts = [] if neither is None else [f"neither {percent(neither)}"]
        parts += [f"{pictures} {percent(at)}" for at, pictures in references if at is not None]
        words = f"{percent(share)} of the translated pictures are taken for {target}; {', '.join(parts)}"
        held_out = nested(found[0].protocol, "pictures", f"held out {direction.source.upper()}")
        count = whole(nested(held_out, "count")) or 0
        if count > 0:
            low, high = wilson(share, count)
            parts.append(f"95 % interval with {count} pictures: {percent(low)} to {percent(high)}")
        of_best = [(column, number_of(column.figures.get(keys[0]))) for column in found[1:]]
        shown.append(
            {
                "source": source,
                "target": target,
                "share": share,
                "percent": percent(share),
                "marks": [at for at, _ in references if at is not None],
                "beside": " · ".join(parts),
                "words": words,
                "also": [f"{it.title}, step {it.step}: {percent(best)}" for it, best in of_best if best is not None],
            }
        )
    return shown


def judge_words(record: RunRecord) -> str:
    """Warning about a judge that is not sure; an empty text for one that is."""
    accuracy = number_of(nested(record.evaluation, "protocol", "judge", "accuracy"))
    if accuracy is None or accuracy >= SURE:
        return ""
    return (
        f"The judge classifies only {percent(accuracy)} of other real pictures correctly. Below {percent(SURE)} it "
        "cannot tell the two domains apart, and its verdict means little."
    )


def figure_notes(found: Sequence[Column]) -> list[str]:
    """Notes beneath the tables of figures."""
    training = [column.title for column in found if column.source == "in training"]
    notes = [f"Figures of the evaluations in training: {', '.join(training)}."] if training else []
    if any(column.metric for column in found):
        notes.append("The best were chosen on these same pictures, so their figures are a little too good.")
    return notes


def protocol(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Protocol of a measurement, as names and texts."""
    rows = []
    if file := mapping(values.get("checkpoint")):
        rows.append(("Measured", f"{Path(str(file.get('file'))).name}, step {file.get('step')}"))
    for role, about in mapping(values.get("pictures")).items():
        about = mapping(about)
        some = f" of {about['of']}" if about.get("of", about.get("count")) != about.get("count") else ""
        place = f" in {Path(str(about['folder'])).name}" if about.get("folder") else ""
        rows.append((role.capitalize(), f"{about.get('count')}{some} pictures{place}"))
    titles = {"scaling": "Scaled", "kid": "KID", "cycle": "Cycle", "intervals": "Intervals", "seed": "Seed"}
    for key, title in titles.items():
        if values.get(key) is not None:
            rows.append((title, str(values[key])))
    features, judge = mapping(values.get("features")), mapping(values.get("judge"))
    if features:
        rows.append(("Features", f"{features.get('name')} ({str(features.get('sha256'))[:12]}), {features.get('how')}"))
    accuracy = number_of(judge.get("accuracy"))
    if accuracy is not None:
        error = number_of(judge.get("calibration_error"))
        calibrated = "" if error is None else f"; calibration error {percent(error)}"
        words = f"{percent(accuracy)} of other real pictures right{calibrated}; SHA-256 {str(judge.get('sha256'))[:12]}"
        rows.append(("Judge", words))
    return rows


def data(record: RunRecord) -> list[dict[str, str]]:
    """Rows of the domains: numbers of pictures, their channels and range."""
    unknown = "not recorded"
    counts = {role: count for role, count in mapping(record.meta.get("pictures")).items() if count is not None}
    channels, ranges = (mapping(record.pictures.get(key)) for key in ("channels", "ranges"))
    default = "all that the type can hold" if record.pictures else unknown
    return [
        {
            "name": name,
            "train": str(counts.get(f"train_{domain}", unknown)),
            "test": str(counts.get(f"test_{domain}", unknown)),
            "channels": str(channels.get(domain, unknown)),
            "range": str(ranges.get(domain) or default).replace(",", " to "),
        }
        for domain, name in record.domains.items()
    ]


def data_words(record: RunRecord) -> str:
    """Sentences about the folder and the unreadable pictures."""
    unreadable = record.newest.get("health/unreadable_pictures")
    sentences = f"{unreadable[1]:.0f} pictures could not be read." if unreadable and unreadable[1] else ""
    if record.config.get("data"):
        sentences = f"From the folder {Path(str(record.config['data'])).name}. {sentences}"
    return sentences


def config(record: RunRecord) -> dict[str, list[dict[str, str]]]:
    """Options that differ from the defaults, the method's own ones, and the rest."""
    groups: dict[str, list[dict[str, str]]] = {"changed": [], "own": [], "rest": []}
    for name, value in record.config.items():
        default = DEFAULTS.get(name)
        item = {"name": name.replace("_", "-"), "value": plain(value), "default": ""}
        if name not in DEFAULTS:
            groups["own"].append(item)
        elif value is None or value == default:
            groups["rest"].append(item)
        else:
            item["value"] = Path(str(value)).name if name in PICTURE_FOLDERS else plain(value)
            item["default"] = "" if default is None else f"not {plain(default)}"
            groups["changed"].append(item)
    return groups if record.config else {}


def command(record: RunRecord) -> str:
    """Command line in shell syntax, with the program by its name alone."""
    words = record.meta.get("command")
    if not isinstance(words, list) or not words:
        return ""
    program, *rest = (str(word) for word in words)
    name = Path(program).name
    return shlex.join([*(["python", "-m", "cyclegan"] if name == "__main__.py" else [name]), *rest])


def reproduce(record: RunRecord) -> list[tuple[str, str]]:
    """Seed, versions and fingerprints that determine a run, as names and texts."""
    meta = record.meta
    packages = ", ".join(f"{name} {version}" for name, version in mapping(meta.get("packages")).items() if version)
    rows = (
        ("Seed", record.config.get("seed")),
        ("cyclegan", meta.get("cyclegan")),
        ("Git commit", meta.get("git_commit")),
        ("Data fingerprint", meta.get("data_fingerprint")),
        ("Python", meta.get("python")),
        ("Packages", packages),
        ("Platform", meta.get("platform")),
    )
    return [(title, str(value)) for title, value in rows if value not in (None, "")]


def plain(value: Any) -> str:
    """A value of a configuration in YAML's spelling."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value) or "–"


def percent(share: float) -> str:
    """`0.834` -> `83 %`."""
    return f"{share:.0%}".replace("%", " %")


def duration(seconds: float) -> str:
    """`4830` -> `1 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def day(seconds: float) -> str:
    """Date of a time since the epoch, in the zone of this machine; an empty text for one outside the calendar."""
    try:
        return time.strftime("%d %B %Y", time.localtime(seconds)).lstrip("0")
    except (ValueError, OverflowError, OSError):
        return ""
