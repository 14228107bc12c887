"""Gallery of a run: translations chosen by the judge, as PNG files.

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

    All pictures are translated; the best 8, the worst 8 and 8 evenly spaced between are kept, or all if there are
    fewer. They are ranked by the judge's probability that the translation is of the target domain; without a judge they
    are spaced evenly by name. `step` and `which` ("last", "best-kid_ab") name the generators.

    gallery.json is removed first and written last, so if it exists, all its pictures do. Memory grows with the number
    of pictures only by a name and one number each, at the price that the chosen ones are translated twice. Raises
    `OSError` if the folder cannot be written, `CycleganError` if no picture can be read.
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
            continue  # its input is noise
        pictures = held_out[direction.source]
        reverse = None if direction.reverse is None else engines.get(direction.reverse.key)
        # Both read every picture, after which the names are those of the readable ones
        probabilities = None if judge is None else _probabilities(pictures, forward, judge, direction.target)
        chosen = _choose(pictures.names if probabilities else pictures.read().names, probabilities)
        record["count"][key] = len(pictures)
        record[key] = list(_write(folder, key, pictures, chosen, forward, reverse))
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(folder / FILE, text.encode(errors="backslashreplace"))  # names may hold undecodable bytes
    return folder / FILE


def _probabilities(pictures: ImageSet, forward: TranslatorLike, judge: DomainClassifier, target: str) -> list[float]:
    """The judge's probability for each picture that its translation is of `target`."""
    fakes = (to_bytes(forward.unit(to_unit(batch).to(forward.device))).cpu() for batch in pictures.batches())
    return [probability for fake in fakes for probability in judge.probability(fake, target).tolist()]


def _choose(names: tuple[str, ...], probabilities: list[float] | None) -> Chosen:
    """The pictures to keep, in the order in which they are shown."""
    if probabilities is None:
        return [(names[index], None, "between") for index in _evenly(len(names), 3 * EACH)]
    assert len(names) == len(probabilities), f"{len(names)} names, {len(probabilities)} translations"
    order = sorted(range(len(names)), key=lambda index: (-probabilities[index], names[index]))
    # Of a few pictures the best are taken first, so that no picture is in both groups
    best = order[:EACH] if len(order) >= 2 * EACH else order[: (len(order) + 1) // 2]
    worst = order[len(best) :][-EACH:]
    rest = order[len(best) : len(order) - len(worst)]
    groups = (("best", best), ("between", [rest[index] for index in _evenly(len(rest), EACH)]), ("worst", worst))
    return [(names[index], probabilities[index], group) for group, indices in groups for index in indices]


def _evenly(count: int, most: int) -> list[int]:
    """Up to `most` of the indices 0 … count - 1, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def _write(
    folder: Path, key: str, pictures: ImageSet, chosen: Chosen, forward: TranslatorLike, reverse: TranslatorLike | None
) -> Iterator[dict[str, Any]]:
    """Write the pictures of one direction, one translation at a time; yields their entries in gallery.json."""
    for number, (name, probability, group) in enumerate(chosen):
        (batch,) = ImageSet(pictures.root, [name], pictures.size, whole=True).batches()
        real = to_unit(batch).to(forward.device)
        fake = forward.unit(real)
        assert fake.shape == real.shape, f"{tuple(real.shape)} became {tuple(fake.shape)}; the evaluator refuses such"
        images = {"source": batch, "fake": to_bytes(fake).cpu()}
        figures = {"cycle_l1": math.nan, "luminance_correlation": float(luminance_correlation(batch, images["fake"]))}
        if reverse is not None:
            reconstructed = reverse.unit(fake)  # from the unrounded fake, as in training
            images["rec"] = to_bytes(reconstructed).cpu()
            figures["cycle_l1"] = float(l1_levels(real, reconstructed))
        files = {role: f"{key}-{number:03d}-{role}.png" for role in images}
        for role, file in files.items():
            write_image(folder / file, images[role][0].permute(1, 2, 0).contiguous().numpy())
        yield {"name": name, "judge": probability, **clean(figures), "rec": None, **files, "group": group}
