"""One run as one HTML file: pictures and plots first, text second, and nothing that is not in the file."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.directions import Direction
from cyclegan.errors import CycleganError, reason_of
from cyclegan.figures import domain_name, in_words
from cyclegan.report import text as telling
from cyclegan.report.run_record import RunRecord, read_record
from cyclegan.report.tables import columns, table
from cyclegan.system.files import atomic_write

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Path, output: Path | None = None) -> Path:
    """Write the page of the run in `run` to `output`, RUN/report.html unless given, and return its path.

    What is not there yet is left out; what is damaged is named in the page. Raises `UsageError` for what is no run,
    `CycleganError` where matplotlib or jinja2 is missing or the page cannot be written.
    """
    need()
    return write_page(output or run / "report.html", render("report.html", **_context(read_record(run))))


def need() -> None:
    """`CycleganError` where a library that pages are made with is missing."""
    try:
        import jinja2
        import matplotlib
    except ImportError as error:
        raise CycleganError(
            f"a page needs {error.name}, which is not installed; install it with `pip install 'cyclegan[report]'`"
        ) from error
    assert jinja2, matplotlib


def write_page(path: Path, text: str) -> Path:
    """Write a page; `CycleganError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode(errors="backslashreplace"))  # names of files may hold bytes that are no text
    except OSError as error:
        raise CycleganError(
            f"--output: cannot write {path} ({reason_of(error).lower()}); name another place"
        ) from error
    return path


def render(template: str, **context: Any) -> str:
    """A template with the style and the script of all pages. All text is escaped but what is `Markup`."""
    from markupsafe import Markup

    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),
            script=Markup(script),
            # The one script that the page's policy lets run
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            version=importlib.metadata.version("cyclegan"),
            made=telling.day(time.time()),
            **context,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """Where templates are compiled, once."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _context(record: RunRecord) -> dict[str, Any]:
    from cyclegan.report.chart_groups import run_groups
    from cyclegan.report.images import gallery, samples

    found, names = columns(record), record.domains
    tables = [
        {"title": in_words(direction, names), "caption": in_words(direction, names, "→"), "rows": rows}
        for direction in record.directions
        if (rows := table(direction, found))
    ]
    context = {
        "name": record.name,
        "routes": list(_routes(record)),
        "status": telling.status(record),
        "facts": telling.facts(record),
        "verdicts": telling.judge_verdicts(record),
        "judge_words": telling.judge_words(record),
        "columns": found,
        "tables": tables,
        "figure_notes": telling.figure_notes(found),
        "protocol": telling.protocol(found[0].protocol) if found else [],
        "charts": run_groups(record),
        "alarms": record.alarms,
        "alarm_count": record.alarm_count,
        "notes": record.notes,
        "data": telling.data(record),
        "data_words": telling.data_words(record),
        "config": telling.config(record),
        "command": telling.command(record),
        "reproduce": telling.reproduce(record),
        **samples(record),
        **gallery(record),
    }
    there = {
        "samples": context["frames"],
        "translations": context["gallery"],
        "figures": tables,
        "curves": context["charts"],
        "alarms": True,
        "data": True,
        "configuration": context["config"],
        "reproduce": context["reproduce"],
    }
    return context | {"sections": [(name, name.capitalize()) for name, filled in there.items() if filled]}


def _routes(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Source, arrow and target of each direction, both ways in one where there are both."""
    seen: set[Direction] = set()
    for direction in record.directions:
        if direction not in seen:
            both = direction.reverse is not None and direction.reverse in record.directions
            seen |= {direction.reverse} if direction.reverse is not None else set()
            source, target = (domain_name(end, record.domains) for end in (direction.source, direction.target))
            yield source, "⇄" if both else "→", target
