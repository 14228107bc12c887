"""The gallery of a run: translations chosen by the judge, as files to look at.

RUN/gallery/ab-000-source.png, ab-000-fake.png, ab-000-rec.png, …, and gallery.json, which lists them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.directions import Direction
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.evaluation.metrics.cycle import l1_levels
from cyclegan.evaluation.metrics.metric import TranslatorLike
from cyclegan.evaluation.metrics.output_statistics import luminance_correlation
from cyclegan.evaluation.protocol import clean
from cyclegan.images import write_image
from cyclegan.system.files import atomic_write
from cyclegan.system.pixels import to_bytes, to_unit

FILE = "gallery.json"
EACH = 8  # pictures of each group: the best, the worst, and some between

Chosen = list[tuple[str, float | None, str]]  # name, the judge's probability, and group of each picture


def write_gallery(
    folder: Path,
    held_out: Mapping[str, ImageSet],
    engines: Mapping[str, TranslatorLike],
    judge: DomainClassifier | None,
    *,
    step: int,
    which: str,
) -> Path:
    """Write 24 translations of `held_out` in each direction; returns the path of gallery.json.

    All are translated, and by the judge the best 8, the worst 8 and 8 evenly between are kept, or all where there are
    fewer. A picture's place is the probability that the judge takes its translation for the target domain. Without a
    judge they are chosen evenly by name. `step` and `which` ("last", "best-kid_ab") name the generators.

    gallery.json is removed first and written last, so that where it is all its pictures are. Memory does not grow with
    the number of pictures, but for their names and one number each; the price is that the chosen ones are translated
    twice. Raises `OSError` where the folder cannot be written, `CycleganError` where no picture can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).unlink(missing_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()
    size = next(iter(held_out.values())).size
    record: dict[str, Any] = {"step": step, "which": which, "size": size, "count": {}}
    for key, forward in engines.items():
        direction = Direction.parse(key)
        if direction.source not in held_out:
            continue  # it takes no pictures
        pictures = held_out[direction.source]
        back = None if direction.reverse is None else engines.get(direction.reverse.key)
        # Both read all, after which the names are those of the readable pictures
        chances = None if judge is None else _chances(pictures, forward, judge, direction.target)
        chosen = _choose(pictures.names if chances else pictures.read().names, chances)
        record["count"][key] = len(pictures)
        record[key] = list(_write(folder, key, pictures, chosen, forward, back))
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(folder / FILE, text.encode(errors="backslashreplace"))  # names may hold bytes that are no text
    return folder / FILE


def _chances(pictures: ImageSet, forward: TranslatorLike, judge: DomainClassifier, target: str) -> list[float]:
    """For each picture the probability that its translation is of `target`, by the judge."""
    fakes = (to_bytes(forward.unit(to_unit(batch).to(forward.device))).cpu() for batch in pictures.batches())
    return [chance for fake in fakes for chance in judge.probability(fake, target).tolist()]


def _choose(names: tuple[str, ...], chances: list[float] | None) -> Chosen:
    """The pictures to keep, in the order in which they are shown."""
    if chances is None:
        return [(names[place], None, "between") for place in _evenly(len(names), 3 * EACH)]
    assert len(names) == len(chances), f"{len(names)} names, {len(chances)} translations"
    order = sorted(range(len(names)), key=lambda index: (-chances[index], names[index]))
    # Of a few pictures the best come first, so that no picture is called both
    best = order[:EACH] if len(order) >= 2 * EACH else order[: (len(order) + 1) // 2]
    worst = order[len(best) :][-EACH:]
    rest = order[len(best) : len(order) - len(worst)]
    groups = (("best", best), ("between", [rest[place] for place in _evenly(len(rest), EACH)]), ("worst", worst))
    return [(names[index], chances[index], group) for group, indices in groups for index in indices]


def _evenly(count: int, most: int) -> list[int]:
    """Up to `most` of the places 0 … count - 1, as far apart as can be."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def _write(
    folder: Path, key: str, pictures: ImageSet, chosen: Chosen, forward: TranslatorLike, back: TranslatorLike | None
) -> Iterator[dict[str, Any]]:
    """Write the pictures of one direction, one translation at a time; yields their entries in gallery.json."""
    for number, (name, chance, group) in enumerate(chosen):
        (batch,) = ImageSet(pictures.root, [name], pictures.size, whole=True).batches()
        real = to_unit(batch).to(forward.device)
        fake = forward.unit(real)
        assert fake.shape == real.shape, f"{tuple(real.shape)} became {tuple(fake.shape)}; the evaluator refuses such"
        made = {"source": batch, "fake": to_bytes(fake).cpu()}
        figures = {"cycle_l1": math.nan, "luminance_correlation": float(luminance_correlation(batch, made["fake"]))}
        if back is not None:
            returned = back.unit(fake)  # not rounded on the way, as in training
            made["rec"] = to_bytes(returned).cpu()
            figures["cycle_l1"] = float(l1_levels(real, returned))
        files = {role: f"{key}-{number:03d}-{role}.png" for role in made}
        for role, file in files.items():
            write_image(folder / file, made[role][0].permute(1, 2, 0).contiguous().numpy())
        yield {"name": name, "judge": chance, **clean(figures), "rec": None, **files, "group": group}
