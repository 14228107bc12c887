"""What figures are called, how they are written, which way is better, and the verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan.report.run_record import RunRecord, mapping, number_of

WAYS = {"ab": ("a", "b"), "ba": ("b", "a")}


@dataclass(frozen=True)
class Kind:
    """A figure of evaluation: its label, how it is written, and what is better: -1 less, 1 more, 0 neither."""

    label: str
    form: str
    better: int
    of: str = "way"  # "way": its name ends in the direction; "source", "target": in that domain
    hint: str = ""


KINDS = {
    "judge": Kind("Taken for the target", "{:.0%}", 1, hint="share of the pictures, by the judge"),
    "kid": Kind("KID", "{:.4f}", -1, hint="distance from real pictures, unbiased"),
    "fid": Kind("FID", "{:.2f}", -1, hint="distance from real pictures; too high of few pictures"),
    "diversity": Kind("Diversity", "{:.3f}", 0, hint="far below real: all outputs are alike"),
    "nearest": Kind("Nearest training picture", "{:.3f}", 0, hint="far below real: copied"),
    "checkerboard": Kind("Checkerboard energy", "{:.3%}", 0, hint="several times real: a pattern of the network"),
    "luminance_correlation": Kind("Luminance correlation", "{:.3f}", 0, hint="1 keeps light and dark, -1 inverts them"),
    "cycle_l1": Kind("Cycle L1", "{:.2f}", -1, "source", "in levels of 255, there and back"),
    "cycle_ssim": Kind("Cycle SSIM", "{:.3f}", 1, "source", "1: comes back equal"),
    "cycle_noise_ratio": Kind(
        "Cycle with faint noise", "{:.2f} ×", 0, "source", "about 1 is honest; more hides detail"
    ),
    "identity_l1": Kind("Identity L1", "{:.2f}", -1, "target", "change of what is in the target already"),
    "psnr": Kind("PSNR", "{:.2f} dB", 1, hint="beside the truth"),
    "ssim": Kind("SSIM", "{:.4f}", 1, hint="beside the truth"),
    "l1": Kind("L1", "{:.2f}", -1, hint="beside the truth, in levels of 255"),
    "rmse": Kind("RMSE", "{:.2f}", -1, hint="beside the truth, in levels of 255"),
    "within": Kind("Pixels within threshold", "{:.1%}", 1, hint="beside the truth"),
    "lpips": Kind("LPIPS", "{:.4f}", -1, hint="beside the truth"),
    "pixel_accuracy": Kind("Per-pixel accuracy", "{:.1%}", 1, hint="of labels"),
    "class_accuracy": Kind("Per-class accuracy", "{:.1%}", 1, hint="of labels"),
    "class_iou": Kind("Class IoU", "{:.1%}", 1, hint="of labels"),
}
CURVES = ("judge", "kid", "fid", "cycle_l1", "cycle_noise_ratio", "luminance_correlation", "diversity", "identity_l1")


@dataclass(frozen=True)
class Column:
    """Figures of one set of generators, and what to call it."""

    title: str
    step: int | None
    figures: Mapping[str, Any]
    source: str  # where the figures come from, in words
    protocol: Mapping[str, Any]
    metric: str | None = None  # by which these generators were kept, None of the last ones
    value: float | None = None  # of that metric


def name_of(kind: str, way: str) -> str:
    """The full name of a figure in one direction: `kid`, `ab` -> `kid_ab`; `cycle_l1`, `ab` -> `cycle_l1_a`."""
    source, target = WAYS[way]
    of = KINDS[kind].of if kind in KINDS else "way"
    return f"{kind}_{ {'way': way, 'source': source, 'target': target}[of] }"


def kind_of(name: str) -> str:
    """What a figure is of, without its direction or domain: `kid_ab` -> `kid`."""
    kind, _, end = name.rpartition("_")
    return kind if end in (*WAYS, "a", "b") else name


def written(kind: str, value: Any) -> str:
    """A figure as it is shown; an empty text for one that is not there."""
    number = number_of(value)
    if number is None:
        return ""
    kind = kind.removesuffix("_std")
    form = KINDS[kind].form if kind in KINDS else "{:.4g}"
    return form.format(number).replace("%", " %").replace("-", "−")


def columns(record: RunRecord) -> list[Column]:
    """The last generators and the best ones, with all that is known of each; the last first.

    Figures of `cyclegan evaluate` where there are any, else those of the evaluations in training.
    """
    found = []
    measured = mapping(record.evaluation.get("metrics"))
    protocol = mapping(record.evaluation.get("protocol"))
    if measured:
        step = mapping(protocol.get("checkpoint")).get("step")
        found.append(Column("Last", _step(step), measured, "cyclegan evaluate", protocol))
    elif newest := {
        name.removeprefix("evaluation/"): at for name, at in record.newest.items() if name.startswith("evaluation/")
    }:
        last = max(step for step, _ in newest.values())
        of_last = {name: value for name, (step, value) in newest.items() if step == last}
        conditions = next((_conditions(mapping(entry)) for entry in record.best.values()), {})
        found.append(Column("Last", last, of_last, "in training", conditions))
    evaluated = mapping(record.evaluation.get("best"))
    for metric, entry in record.best.items():
        entry, again = mapping(entry), mapping(evaluated.get(metric))
        figures = mapping(again.get("metrics")) or mapping(entry.get("figures"))
        source = "cyclegan evaluate" if again.get("metrics") else "in training"
        title, step = f"Best by {metric}", _step(entry.get("step"))
        value = number_of(entry.get("value"))
        how = mapping(again.get("protocol")) or _conditions(entry)
        found.append(Column(title, step, figures, source, how, metric, value))
    return found


def verdicts(figures: Mapping[str, Any], domains: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """For each direction that the judge has spoken of: the shares, between 0 and 1, and who is who."""
    for way, (source, target) in WAYS.items():
        share = number_of(figures.get(f"judge_{way}"))
        if share is not None:
            yield {
                "way": way,
                "source": domains[source],
                "target": domains[target],
                "share": share,
                "real": number_of(figures.get(f"judge_real_{way}")),
                "untranslated": number_of(figures.get(f"judge_source_{way}")),
            }


def table(record: RunRecord, way: str, found: list[Column]) -> list[dict[str, Any]]:
    """The rows of one direction: label, hint, a cell for each column, and the same of real and untranslated pictures.

    The best of several cells is marked where one way is better and all were measured in the same way.
    """
    alike = len({column.source for column in found}) == 1
    beside = found[0].figures if found else {}
    known = list(dict.fromkeys([*KINDS, *(kind_of(name) for column in found for name in column.figures)]))
    rows = []
    for kind in known:
        if kind.endswith(("_real", "_source", "_std", "_noise_l1")):
            continue
        values = [number_of(column.figures.get(name_of(kind, way))) for column in found]
        if all(value is None for value in values):
            continue
        about = KINDS.get(kind, Kind(kind.replace("_", " "), "", 0))
        ranked = [value * about.better for value in values if value is not None and about.better and alike]
        wins = [len(set(ranked)) > 1 and value is not None and value * about.better == max(ranked) for value in values]
        rows.append(
            {
                "label": about.label,
                "hint": about.hint,
                "cells": [
                    (_with_spread(kind, column.figures, way), win) for column, win in zip(found, wins, strict=True)
                ],
                "real": written(kind, beside.get(f"{kind}_real_{way}")),
                "untranslated": written(kind, beside.get(f"{kind}_source_{way}")),
            }
        )
    return rows


def _conditions(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What best.json says of how its figures came about, in the form of a protocol."""
    pictures = {f"held out {domain.upper()}": it for domain, it in mapping(entry.get("chosen_on")).items()}
    return {"judge": {"sha256": entry.get("judge")}, "pictures": pictures}


def _with_spread(kind: str, figures: Mapping[str, Any], way: str) -> str:
    """A figure with its standard deviation where it has one."""
    text, spread = (written(kind, figures.get(name_of(name, way))) for name in (kind, f"{kind}_std"))
    return f"{text} ± {spread}" if text and spread else text


def _step(value: Any) -> int | None:
    number = number_of(value)
    return None if number is None else int(number)
