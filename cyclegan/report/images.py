"""Pictures of a run as data URIs, small enough that a page with many of them opens at once."""

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
from cyclegan.report.text import percent

GRIDS = 40  # steps whose grids a page shows
_LONGEST = 800  # pixels of the longer side of a grid in a page
# By the longer side: lossless where single pixels are visible; JPEG in full colour resolution where the page enlarges a
# picture; WebP, which halves that resolution, where it does not. On a screen none differs visibly from the original.
_ENCODINGS: tuple[tuple[float, tuple[str, dict[str, Any]]], ...] = (
    (160, ("WEBP", {"lossless": True, "method": 4})),
    (640, ("JPEG", {"quality": 90, "subsampling": 0, "optimize": True})),
    (float("inf"), ("WEBP", {"quality": 78, "method": 4})),
)
_MARGIN = 2  # pixels between the pictures of a grid of the trainer
_HEADINGS = ("real", "fake", "reconstructed", "identity")  # of grids from before the journal named their columns
_GROUPS = (("best", "Most believed", False), ("worst", "Least believed", False), ("between", "Between them", True))
_FORMATS = ("PNG",)  # that a run writes; Pillow would open PostScript too, by starting a program
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # Pillow's errors for damaged files
_MOST_PIXELS = 2**27  # of a grid; a larger one is not opened


@dataclass(frozen=True)
class Embedded:
    """A picture in a page: its data URI, and its size there."""

    uri: str
    width: int
    height: int


def embed(path: Path | None, longest: int = _LONGEST) -> Embedded | None:
    """Encode the picture in `path`, scaled down to `longest` pixels; None if it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            image = opened.convert("RGB")
    except _UNREADABLE:
        return None
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    kind, settings = next(encoding for most, encoding in _ENCODINGS if max(image.size) <= most)
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    uri = f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()
    return Embedded(uri, image.width, image.height)


def samples(record: RunRecord) -> dict[str, Any]:
    """Template data of the sample grids: up to `GRIDS` steps, evenly chosen, with the first and the last."""
    steps = sorted({step for grids in record.grids.values() for step in grids})
    frames: list[dict[str, Any]] = []  # {"step", "a2b": Embedded, "b2a": Embedded}
    for step in evenly(steps, GRIDS):
        made = {name: embed(record.inside(grids[step])) for name, grids in record.grids.items() if step in grids}
        readable = {name: picture for name, picture in made.items() if picture is not None}
        if readable:
            frames.append({"step": step, **readable})
    newest = {name: frame for frame in frames for name in frame if name != "step"}
    directions = []
    for name, frame in sorted(newest.items()):
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
                "first": frame[name],
                "step": frame["step"],
            }
        )
    some = (
        f"{len(frames)} of {len(steps)} grids are shown, evenly chosen and" if len(steps) > GRIDS else "The grids are"
    )
    uris = [{key: it.uri if isinstance(it, Embedded) else it for key, it in frame.items()} for frame in frames]
    return {
        "frames": frames,
        # JSON that cannot close the element around it
        "frames_json": Markup(json.dumps(uris).replace("<", "\\u003c")),
        "directions": directions,
        "frames_words": f"{some} made smaller for this page, the originals are in samples/.",
    }


def headings(record: RunRecord, name: str) -> tuple[str, ...]:
    """Column headings of a direction's grids, of older runs guessed from the width; none if unknown."""
    if name in record.columns:
        return record.columns[name]
    grids, side = record.grids.get(name), record.config.get("crop_size")
    path = record.inside(grids[max(grids)]) if grids else None
    if path is None or not isinstance(side, int):
        return ()
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            across, rest = divmod(opened.width - _MARGIN, side + _MARGIN)
    except _UNREADABLE:
        return ()
    return _HEADINGS[:across] if not rest and across <= len(_HEADINGS) else ()


def gallery(record: RunRecord) -> dict[str, Any]:
    """Template data of the gallery."""
    shown: list[dict[str, Any]] = []
    judged = False
    for direction in record.directions:
        entries = gallery_entries(record, direction.key)
        groups: list[dict[str, Any]] = []
        for group, title, folded in _GROUPS:
            members = [entry for entry in entries if entry.get("group") == group]
            if members:
                judged = judged or any(entry["chance"] for entry in members)
                only = len(members) == len(entries)
                title = "Some of them" if only else title
                groups.append({"title": title, "folded": folded and not only, "entries": members})
        if groups:
            source, target = (domain_name(end, record.domains) for end in (direction.source, direction.target))
            shown.append({"source": source, "target": target, "groups": groups})
    counts = mapping(record.gallery.get("count"))
    origin = f"chosen from {sum(int(number_of(count) or 0) for count in counts.values())}"
    if record.gallery.get("step") is not None:
        origin += f", by the {record.gallery.get('which', 'last')} generators (step {record.gallery['step']})"
    more = " The number is how sure the judge is that the translation belongs to the target." if judged else ""
    return {
        "gallery": shown,
        "gallery_title": "Best and worst by the judge" if judged else "Translations",
        "gallery_words": f"Held-out pictures and their translations, {origin}.{more}",
    }


def gallery_entries(record: RunRecord, key: str, longest: int = 256) -> list[dict[str, Any]]:
    """The readable entries of one direction of gallery.json, with pictures as `Embedded` and the chance in words."""
    entries = []
    listed = record.gallery.get(key)
    for entry in map(mapping, listed if isinstance(listed, list) else []):
        pictures = {
            role: embed(record.inside(f"{GALLERY}/{entry[role]}"), longest)
            for role in ("source", "fake")
            if isinstance(entry.get(role), str)
        }
        if pictures.get("source") and pictures.get("fake"):
            chance = number_of(entry.get("judge"))
            entries.append({**entry, **pictures, "name": str(entry.get("name")), "chance": _chance(chance)})
    return entries


def _chance(chance: float | None) -> str:
    """A probability as text, capped at 1 and 99 %, since it is never certain."""
    if chance is None:
        return ""
    return "> 99 %" if chance > 0.99 else "< 1 %" if chance < 0.01 else percent(chance)


def newest_grids(records: Sequence[RunRecord], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Template data of a comparison: the newest readable grid of each run, by direction."""
    shown = []
    for name in sorted({name for record in records for name in record.grids}):
        runs = []
        for record, label in zip(records, labels, strict=True):
            grids = record.grids.get(name, {})
            for step in sorted(grids, reverse=True)[:5]:
                picture = embed(record.inside(grids[step]))
                if picture is not None:
                    runs.append({"label": label, "step": step, "picture": picture, "headings": headings(record, name)})
                    break
        if runs:
            shown.append({"title": f"{domain_name(name[0])} → {domain_name(name[-1])}", "runs": runs})
    return shown


def alike(records: Sequence[RunRecord], labels: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Template data of up to `most` pictures per direction that are in the galleries of all runs, each with all fakes.

    Each run chooses its own best and worst, so there may be few or none. The least believed by all come first, since
    runs differ most there.
    """
    shown = []
    for direction in dict.fromkeys(direction for record in records for direction in record.directions):
        galleries = [{it["name"]: it for it in gallery_entries(record, direction.key)} for record in records]
        names = set.intersection(*map(set, galleries))
        order = sorted(names, key=lambda name: (sum(number_of(it[name].get("judge")) or 0 for it in galleries), name))
        rows = [
            {
                "name": name,
                "source": galleries[0][name]["source"],
                "fakes": [
                    {"label": label, "picture": it[name]["fake"], "chance": it[name]["chance"]}
                    for it, label in zip(galleries, labels, strict=True)
                ],
            }
            for name in order[:most]
        ]
        if rows:
            shown.append({"title": in_words(direction, joint="→"), "rows": rows})
    return shown
