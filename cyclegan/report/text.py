"""What a page says of a run in words and small tables: its standing, the verdict, data, configuration, origin."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cyclegan.config import PICTURE_FOLDERS, TrainConfig
from cyclegan.figures import SURE
from cyclegan.report.run_record import RunRecord, mapping, number_of
from cyclegan.report.tables import Column, columns, verdicts

_STATUS = {"done": "done", "running": "running", "preempted": "stopped", "failed": "failed"}


def status(record: RunRecord) -> dict[str, str]:
    """How the run stands: a kind for its colour, a word, and the reason where there is one."""
    kind = _STATUS.get(str(record.status.get("status")), "unknown")
    return {"kind": kind, "word": kind, "reason": str(record.status.get("reason") or "")}


def facts(record: RunRecord) -> list[str]:
    """How far it has come, how long that took, and what learned, each in a few words."""
    steps = number_of(record.status.get("steps")) or number_of(record.config.get("steps"))
    said = [f"{record.step:,} steps" if not steps or steps <= record.step else f"step {record.step:,} of {steps:,.0f}"]
    if record.seconds:
        said.append(f"{duration(record.seconds)} of training")
    created = number_of(record.meta.get("created"))
    if created is not None:
        said.append(f"begun {day(created)}")
    config = record.config
    if config.get("generator"):
        said.append(f"{config['generator']}, {config.get('crop_size')} px")
    return said


def judge_verdicts(record: RunRecord) -> list[dict[str, Any]]:
    """What the judge says of the last generators for each direction, and of the best beneath."""
    found = columns(record)
    if not found:
        return []
    shown = []
    for it in verdicts(found[0].figures, record):
        marks = [
            (it["untranslated"], f"untranslated {it['source']} {percent(it['untranslated'])}"),
            (it["real"], f"real {it['target']} {percent(it['real'])}"),
        ]
        said = [words for at, words in marks if at is not None]
        count = _count(found[0].protocol, it["direction"].source)
        if count:
            low, high = interval(it["share"], count)
            said.append(f"with {count} pictures it may as well be {percent(low)} to {percent(high)}")
        also = [
            f"{column.title}, step {column.step}: {percent(other['share'])}"
            for column in found[1:]
            for other in verdicts(column.figures, record)
            if other["direction"] == it["direction"]
        ]
        shown.append(
            {
                **it,
                "percent": percent(it["share"]),
                "marks": [{"at": at} for at, _ in marks if at is not None],
                "beside": " · ".join(said),
                "words": f"{percent(it['share'])} of the translated pictures are taken for {it['target']}; "
                + ", ".join(words for at, words in marks if at is not None),
                "also": also,
            }
        )
    return shown


def judge_words(record: RunRecord) -> str:
    """What to know of a judge that is not sure; an empty text for one that is."""
    judge = mapping(mapping(record.evaluation.get("protocol")).get("judge"))
    accuracy = number_of(judge.get("accuracy"))
    if accuracy is None or accuracy >= SURE:
        return ""
    return (
        f"The judge tells only {percent(accuracy)} of other real pictures rightly. Below {percent(SURE)} it cannot "
        "tell the two domains apart, and its verdict means little."
    )


def _count(said: Mapping[str, Any], domain: str) -> int | None:
    about = mapping(mapping(said.get("pictures")).get(f"held out {domain.upper()}"))
    count = number_of(about.get("count"))
    return int(count) if count and count > 0 else None


def figure_notes(found: Sequence[Column]) -> list[str]:
    """What to know of the columns of figures."""
    training = [column.title for column in found if column.source == "in training"]
    notes = [f"Figures of the evaluations in training: {', '.join(training)}."] if training else []
    if any(column.metric for column in found):
        notes.append("The best were chosen by these same pictures, which flatters them a little.")
    return notes


def protocol(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How figures came about, as names and texts."""
    rows = []
    file = mapping(said.get("checkpoint"))
    if file:
        rows.append(("Measured", f"{Path(str(file.get('file'))).name}, step {file.get('step')}"))
    for role, about in mapping(said.get("pictures")).items():
        about = mapping(about)
        some = f" of {about['of']}" if about.get("of", about.get("count")) != about.get("count") else ""
        place = f" in {Path(str(about['folder'])).name}" if about.get("folder") else ""
        rows.append((role.capitalize(), f"{about.get('count')}{some} pictures{place}"))
    for key, title in (("scaling", "Scaled"), ("kid", "KID"), ("cycle", "Cycle"), ("seed", "Seed")):
        if said.get(key) is not None:
            rows.append((title, str(said[key])))
    features, judge = mapping(said.get("features")), mapping(said.get("judge"))
    if features:
        rows.append(("Features", f"{features.get('name')} ({str(features.get('sha256'))[:12]}), {features.get('how')}"))
    accuracy = number_of(judge.get("accuracy"))
    if accuracy is not None:
        words = f"tells {percent(accuracy)} of other real pictures rightly; SHA-256 {str(judge.get('sha256'))[:12]}"
        rows.append(("Judge", words))
    return rows


def data(record: RunRecord) -> list[dict[str, str]]:
    """A row for each domain: how many pictures, of which channels and range."""
    counts = mapping(record.meta.get("pictures"))
    channels, ranges = (mapping(record.pictures.get(key)) for key in ("channels", "ranges"))
    unknown = "not recorded"
    rows = []
    for domain in record.domains:
        train, test = (counts.get(f"{role}_{domain}") for role in ("train", "test"))
        between = str(ranges[domain]).replace(",", " to ") if ranges.get(domain) else ""
        rows.append(
            {
                "name": record.domains[domain],
                "train": unknown if train is None else f"{train}",
                "test": unknown if test is None else f"{test}",
                "channels": str(channels.get(domain, unknown)),
                "range": between or ("all that the type can hold" if record.pictures else unknown),
            }
        )
    return rows


def data_words(record: RunRecord) -> str:
    """What else there is to say of the pictures."""
    unreadable = record.newest.get("health/unreadable_pictures")
    said = f"{unreadable[1]:.0f} pictures could not be read." if unreadable and unreadable[1] else ""
    if record.config.get("data"):
        said = f"From the folder {Path(str(record.config['data'])).name}. {said}"
    return said


def config(record: RunRecord) -> dict[str, list[dict[str, str]]]:
    """What differs from the defaults, the method's own options, and the rest."""
    declared = {item.name: item.default for item in fields(TrainConfig) if item.name != "options"}
    sorted_: dict[str, list[dict[str, str]]] = {"changed": [], "own": [], "rest": []}
    for name, value in record.config.items():
        item = {"name": name.replace("_", "-"), "value": plain(value), "default": ""}
        if name not in declared:
            sorted_["own"].append(item)
        elif value is None or value == declared[name]:
            sorted_["rest"].append(item)
        else:
            if name in PICTURE_FOLDERS:
                item["value"] = Path(str(value)).name
            else:
                item["default"] = f"not {plain(declared[name])}" if declared[name] is not None else ""
            sorted_["changed"].append(item)
    return sorted_ if record.config else {}


def command(record: RunRecord) -> str:
    """The command line, as a shell would take it; the program by its name alone, wherever it lay."""
    words = record.meta.get("command")
    if not isinstance(words, list) or not words:
        return ""
    program, *rest = (str(word) for word in words)
    name = Path(program).name
    return shlex.join([*(["python", "-m", "cyclegan"] if name == "__main__.py" else [name]), *rest])


def reproduce(record: RunRecord) -> list[tuple[str, str]]:
    """What a run follows from, as names and texts."""
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
    """A value of a configuration as YAML has it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value) or "–"


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` pictures, which is honest for few pictures and near 0 and 1 too."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def percent(share: float | None) -> str:
    """`0.834` -> `83 %`."""
    return "" if share is None else f"{share:.0%}".replace("%", " %")


def duration(seconds: float) -> str:
    """`4830` -> `1 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def day(seconds: float) -> str:
    """A time as a date, in the clock of this machine; an empty text for one that no calendar has."""
    try:
        return time.strftime("%d %B %Y", time.localtime(seconds)).lstrip("0")
    except (ValueError, OverflowError, OSError):
        return ""
