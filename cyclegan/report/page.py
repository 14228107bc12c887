"""Report of a run as one self-contained HTML file, pictures and plots first, text second."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, reason_of
from cyclegan.figures import domain_name, in_words
from cyclegan.report import text
from cyclegan.report.paper import quotable, too_few
from cyclegan.report.run_record import RunRecord, read_record
from cyclegan.report.tables import Column, columns, table
from cyclegan.system.files import atomic_write

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Path, output: Path | None = None) -> Path:
    """Write the page of `run` to `output`, by default RUN/report.html, and return its path.

    Missing records are left out, damaged ones named in the page. Raises `UsageError` if `run` is no run, and
    `CycleganError` if matplotlib or jinja2 is missing or the page cannot be written.
    """
    check_libraries()
    return write_page(output or run / "report.html", render("report.html", **_context(read_record(run))))


def check_libraries() -> None:
    """Raise `CycleganError` if a library for pages is missing."""
    try:
        import jinja2  # noqa: F401 (both are used elsewhere)
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise CycleganError(
            f"a page needs {error.name}, which is not installed; install it with `pip install 'cyclegan[report]'`"
        ) from error


def write_page(path: Path, page: str) -> Path:
    """Write a page and return its path; `CycleganError` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, page.encode(errors="backslashreplace"))  # file names may hold undecodable bytes
    except OSError as error:
        raise CycleganError(
            f"--output: cannot write {path} ({reason_of(error).lower()}); name another place"
        ) from error
    return path


def render(template: str, **context: Any) -> str:
    """Render a template with the style and script of all pages. All text but `Markup` is escaped."""
    import jinja2
    from markupsafe import Markup

    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        # The only script that the page's policy allows
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=importlib.metadata.version("cyclegan"),
        made=text.day(time.time()),
        **context,
    )


def _context(record: RunRecord) -> dict[str, Any]:
    from cyclegan.report.charts import run_groups
    from cyclegan.report.images import gallery, samples

    found, names = columns(record), record.domains
    status, reason = text.status(record)
    tables = [
        {"title": in_words(direction, names), "caption": in_words(direction, names, "→"), "rows": rows}
        for direction in record.directions
        if (rows := table(direction, found))
    ]
    context = {
        "name": record.name,
        "routes": list(_routes(record)),
        "status": status,
        "reason": reason,
        "facts": text.facts(record),
        "verdicts": text.judge_verdicts(record),
        "judge_words": text.judge_words(record),
        "columns": found,
        "tables": tables,
        "figure_notes": [*text.figure_notes(found), *_few(found)],
        "quotable": list(quotable([found], [record.config.get("seed")], record.directions, names)) if found else [],
        "protocol": text.protocol(found[0].protocol) if found else [],
        "charts": run_groups(record),
        "alarms": record.alarms,
        "alarm_count": record.alarm_count,
        "notes": record.notes,
        "data": text.data(record),
        "data_words": text.data_words(record),
        "config": text.config(record),
        "command": text.command(record),
        "reproduce": text.reproduce(record),
        **samples(record),
        **gallery(record),
    }
    sections = {
        "samples": context["frames"],
        "translations": context["gallery"],
        "figures": tables,
        "curves": context["charts"],
        "alarms": True,
        "data": True,
        "configuration": context["config"],
        "reproduce": context["reproduce"],
    }
    return context | {"sections": [(name, name.capitalize()) for name, filled in sections.items() if filled]}


def _few(found: list[Column]) -> Iterator[str]:
    few = too_few(found[0].figures, found[0].protocol) if found else ""
    yield from [f"{few}."] if few else []


def _routes(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Source, arrow and target of each direction; a direction and its reverse share an arrow."""
    for place, direction in enumerate(record.directions):
        if direction.reverse not in record.directions[:place]:
            arrow = "⇄" if direction.reverse in record.directions else "→"
            source, target = (domain_name(end, record.domains) for end in (direction.source, direction.target))
            yield source, arrow, target
