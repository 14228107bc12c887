"""Pictures of a run as data: URIs, small enough that a page with many of them opens at once."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from cyclegan.figures import domain_name, in_words
from cyclegan.report.run_record import GALLERY, RunRecord, mapping, number_of
from cyclegan.report.series import evenly

GRIDS = 40  # steps of which a page shows the grids
_LONGEST = 800  # pixels of the longer side of a grid in a page
# By the longer side: without loss where each pixel is seen; JPEG with all of its colour where a picture is enlarged to
# be shown; WebP, which halves the colour, where it is not. No difference from the original is seen on a screen.
_ENCODINGS: tuple[tuple[float, tuple[str, dict[str, Any]]], ...] = (
    (160, ("WEBP", {"lossless": True, "method": 4})),
    (640, ("JPEG", {"quality": 90, "subsampling": 0, "optimize": True})),
    (float("inf"), ("WEBP", {"quality": 78, "method": 4})),
)
_MARGIN = 2  # pixels between the pictures of a grid, as the trainer leaves them
_HEADINGS = ("real", "fake", "reconstructed", "identity")
_FORMATS = ("PNG",)  # which a run draws; Pillow would open PostScript too, by starting a program
_BOMB = 2**27  # pixels of a grid above which it is not opened


@dataclass(frozen=True)
class Embedded:
    """A picture in a page: its data: URI, and its size there."""

    uri: str
    width: int
    height: int


def embed(path: Path | None, longest: int = _LONGEST) -> Embedded | None:
    """The picture in `path`, scaled down to `longest` pixels; None where it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > _BOMB:
                return None
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
        return None
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    kind, settings = next(how for most, how in _ENCODINGS if max(image.size) <= most)
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    uri = f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()
    return Embedded(uri, image.width, image.height)


def shown_steps(record: RunRecord, most: int = GRIDS) -> list[int]:
    """The steps of which grids are shown: up to `most`, evenly, the first and the last among them."""
    there = {step for grids in record.grids.values() for step in grids}
    return evenly(sorted(there), most)


def grid_frames(record: RunRecord, most: int = GRIDS) -> list[dict[str, object]]:
    """The grids of those steps: `{"step", "a2b": Embedded, "b2a": Embedded}`, those that can be read."""
    frames = []
    for step in shown_steps(record, most):
        made = {name: embed(record.inside(grids[step])) for name, grids in record.grids.items() if step in grids}
        there = {name: picture for name, picture in made.items() if picture is not None}
        if there:
            frames.append({"step": step, **there})
    return frames


def newest_grid(record: RunRecord, name: str) -> tuple[int, Embedded] | None:
    """The newest grid of a direction ("a2b") that can be read, and its step."""
    grids = record.grids.get(name, {})
    for step in sorted(grids, reverse=True)[:5]:
        picture = embed(record.inside(grids[step]))
        if picture is not None:
            return step, picture
    return None


def headings(record: RunRecord, name: str) -> tuple[str, ...]:
    """Headings of the columns of a direction's grids, in older runs by the size of the grids; none if unknown."""
    if name in record.columns:
        return record.columns[name]
    grids = record.grids.get(name)
    path = record.inside(grids[max(grids)]) if grids else None
    side = record.config.get("crop_size")
    if path is None or not isinstance(side, int):
        return ()
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            across, rest = divmod(opened.width - _MARGIN, side + _MARGIN)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ()
    return _HEADINGS[:across] if not rest and across <= len(_HEADINGS) else ()


def gallery_entries(record: RunRecord, way: str, longest: int = 256) -> list[dict[str, object]]:
    """The pictures of the gallery of one direction with what was written of each, those that can be read."""
    entries = []
    listed = record.gallery.get(way)
    for entry in listed if isinstance(listed, list) else []:
        about = mapping(entry)
        pictures = {
            role: embed(record.inside(f"{GALLERY}/{about[role]}"), longest)
            for role in ("source", "fake", "rec")
            if isinstance(about.get(role), str)
        }
        if pictures.get("source") and pictures.get("fake"):
            entries.append({**about, **{role: picture for role, picture in pictures.items() if picture}})
    return entries


_GROUPS = (("best", "Most believed", False), ("worst", "Least believed", False), ("between", "Between them", True))


def samples(record: RunRecord) -> dict[str, Any]:
    """Template data of the sample grids."""
    frames = grid_frames(record)
    there = {step for grids in record.grids.values() for step in grids}
    directions = []
    for name in sorted({key for frame in frames for key in frame if key != "step"}):
        newest = next(frame for frame in reversed(frames) if name in frame)
        source, target = (domain_name(domain, record.domains) for domain in (name[0], name[-1]))
        columns = headings(record, name)
        alt = f"Samples, {source} to {target}: a row for each picture"
        directions.append(
            {
                "name": name,
                "source": source,
                "target": target,
                "headings": columns,
                "alt": f"{alt}, with {', '.join(columns)}" if columns else alt,
                "first": newest[name],
                "step": newest["step"],
            }
        )
    return {
        "frames": frames,
        "frames_json": _as_script(frames),
        "directions": directions,
        "frames_words": _frames_words(len(frames), len(there)),
    }


def _frames_words(shown: int, there: int) -> str:
    smaller = "made smaller for this page, the originals are in samples/"
    if there > GRIDS:
        return f"Shown are {shown} of {there} grids, evenly chosen and {smaller}."
    return f"The grids are {smaller}."


def _as_script(frames: list[dict[str, Any]]) -> Markup:
    """The frames as JSON in which nothing can end the element that it stands in."""
    plain = [{key: it.uri if isinstance(it, Embedded) else it for key, it in frame.items()} for frame in frames]
    return Markup(json.dumps(plain).replace("<", "\\u003c"))


def gallery(record: RunRecord) -> dict[str, Any]:
    """Template data of the gallery."""
    ways: list[dict[str, Any]] = []
    for direction in record.directions:
        entries = gallery_entries(record, direction.key)
        groups: list[dict[str, Any]] = []
        for group, title, folded in _GROUPS:
            shown = [_entry(entry) for entry in entries if entry.get("group") == group]
            if shown:
                only = len({entry.get("group") for entry in entries}) == 1
                groups.append(
                    {"title": "Some of them" if only else title, "folded": folded and not only, "entries": shown}
                )
        if groups:
            source, target = (domain_name(end, record.domains) for end in (direction.source, direction.target))
            ways.append({"source": source, "target": target, "groups": groups})
    judged = any(entry["chance"] for way in ways for group in way["groups"] for entry in group["entries"])
    return {
        "gallery": ways,
        "gallery_title": "Best and worst by the judge" if judged else "Translations",
        "gallery_words": _gallery_words(record, judged),
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    chance = number_of(entry.get("judge"))
    return {
        "name": str(entry.get("name")),
        "source": entry["source"],
        "fake": entry["fake"],
        "chance": _chance(chance),
    }


def _chance(chance: float | None) -> str:
    """A probability without a certainty that it does not have."""
    if chance is None:
        return ""
    return "> 99 %" if chance > 0.99 else "< 1 %" if chance < 0.01 else f"{chance:.0%}".replace("%", " %")


def _gallery_words(record: RunRecord, judged: bool) -> str:
    counts = mapping(record.gallery.get("count"))
    total = sum(int(number_of(count) or 0) for count in counts.values())
    said = f"Held-out pictures and their translations, chosen of {total}"
    if record.gallery.get("step") is not None:
        said += f", by the {record.gallery.get('which', 'last')} generators (step {record.gallery['step']})"
    more = " The number is how sure the judge is that the translation belongs to the target." if judged else ""
    return f"{said}.{more}"


def newest_grids(records: Sequence[RunRecord], labels: Sequence[str]) -> list[dict[str, Any]]:
    """For each direction the newest grid of each run: what the template of a comparison needs."""
    shown = []
    for name in sorted({name for record in records for name in record.grids}):
        runs = []
        for record, label in zip(records, labels, strict=True):
            found = newest_grid(record, name)
            if found is not None:
                runs.append({"label": label, "step": found[0], "picture": found[1], "headings": headings(record, name)})
        if runs:
            shown.append({"title": f"{domain_name(name[0])} → {domain_name(name[-1])}", "runs": runs})
    return shown


def alike(records: Sequence[RunRecord], labels: Sequence[str], most: int) -> list[dict[str, Any]]:
    """For each direction up to `most` held-out pictures that are in the galleries of all runs, with each translation.

    The runs have chosen their best and worst, so there may be few or none; the least believed by all come first, since
    there the runs differ most.
    """
    shown = []
    for direction in dict.fromkeys(direction for record in records for direction in record.directions):
        entries = [{str(it.get("name")): it for it in gallery_entries(record, direction.key)} for record in records]
        names = set.intersection(*(set(of_run) for of_run in entries))
        order = sorted(names, key=lambda name: (sum(number_of(it[name].get("judge")) or 0 for it in entries), name))
        rows = [
            {
                "name": name,
                "source": entries[0][name]["source"],
                "fakes": [
                    {"label": label, "picture": it[name]["fake"], "chance": _chance(number_of(it[name].get("judge")))}
                    for it, label in zip(entries, labels, strict=True)
                ],
            }
            for name in order[:most]
        ]
        shown.append({"title": in_words(direction, joint="→"), "rows": rows})
    return [it for it in shown if it["rows"]]
