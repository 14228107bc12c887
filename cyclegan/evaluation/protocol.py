"""Protocol of an evaluation, needed to compare its figures with others."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, reason_of
from cyclegan.evaluation.image_set import SCALING, ImageSet
from cyclegan.evaluation.metrics.cycle import NOISE
from cyclegan.evaluation.metrics.fid_kid import SUBSET_SIZE, SUBSETS
from cyclegan.evaluation.metrics.metric import Evaluation, Tools
from cyclegan.evaluation.metrics.paired import SIGMA, WINDOW
from cyclegan.evaluation.metrics.perceptual import MOST, PERCEPTUAL
from cyclegan.evaluation.metrics.uncertainty import HALVES, RESAMPLES, Interval
from cyclegan.system.files import write_json

_PACKAGES = ("cyclegan", "torch", "torchvision", "numpy", "pillow")


def of_pictures(pictures: ImageSet, of: int) -> dict[str, Any]:
    """Folder, number (of `of` in all) and digest of the names of a set of pictures."""
    lost = {"of": of, "unreadable": pictures.unreadable}
    return {"folder": str(pictures.root), "count": len(pictures), **lost, "names_sha256": _names_sha256(pictures)}


def chosen_on(held_out: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Number and digest of the names of the pictures that choose the best, by domain."""
    return {d: {"count": len(images), "names_sha256": _names_sha256(images)} for d, images in held_out.items()}


def _names_sha256(pictures: ImageSet) -> str:
    return hashlib.sha256(b"\n".join(map(os.fsencode, pictures.names))).hexdigest()


def of_method(tools: Tools, size: int | None) -> dict[str, Any]:
    """Scaling, settings of metrics, and versions of packages."""
    within = f"within {tools.threshold:g} levels of 255"
    protocol: dict[str, Any] = {
        "size": size,
        "scaling": SCALING.format(size=size) if size else "as stored",
        "seed": tools.seed,
        "versions": {**{name: version(name) for name in _PACKAGES}, "python": platform.python_version()},
        "intervals": (
            f"95 %, over pictures: shares by Wilson's formula; FID and diversity ± 1.96 deviations over up to {HALVES} "
            f"random halves, KID ± 1.96 of its standard errors; all others by percentiles of {RESAMPLES} resamples"
        ),
        "paired": f"SSIM: windows of {WINDOW}×{WINDOW}, σ {SIGMA}, mean of R, G, B; {within}",
    }
    if (features := tools.extractor) is not None:
        protocol["features"] = {"name": features.name, "sha256": features.sha256, "how": features.how}
        protocol["kid"] = (
            f"unbiased MMD², kernel (xᵀy/D + 1)³; of more than {SUBSET_SIZE} pictures mean and deviation of {SUBSETS} "
            f"subsets of {SUBSET_SIZE}, else of all, with the deviation over {SUBSETS} random halves"
        )
        protocol["cycle"] = f"pictures not rounded to 8 bits on the way; noise gaussian, σ {NOISE:g} of 255 levels"
    if tools.perceptual is not None:
        protocol["perceptual"] = f"{PERCEPTUAL}; of the first {MOST} real pictures, and of all with a truth"
    if tools.classes is not None:
        network = tools.classes.network
        names = ", ".join(tools.classes.names)
        protocol["classes"] = {"names": names, "name": network.name, "sha256": network.sha256, "how": network.how}
    if tools.classifier is not None:
        protocol["judge"] = {**tools.classifier.protocol, "sha256": tools.classifier.sha256}
    return protocol


def clean(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures for JSON, with None for NaN and infinities."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def listed(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    """Intervals for JSON: [low, high]."""
    return {name: list(ends) for name, ends in intervals.items()}


def to_record(evaluation: Evaluation, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Stored and printed record of an evaluation: {"metrics": …, "intervals": …, "protocol": …}.

    "intervals" has [low, high] for the figures that have one. If there are best generators beside the last, "best" has
    theirs: {"<metric>": {"metrics": …, "intervals": …, "protocol": …}, …}.
    """
    return {"metrics": clean(evaluation.figures), "intervals": listed(evaluation.intervals), "protocol": dict(protocol)}


def store(path: Path, record: Mapping[str, Any]) -> None:
    """Write `evaluation.json`; `CycleganError` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    except OSError as error:
        raise CycleganError(
            f"--output: cannot write {path} ({reason_of(error).lower()}); name another place"
        ) from error
