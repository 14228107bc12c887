"""How figures came about, in a form that is printed and stored with them: without it a figure compares with nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleganError, reason_of
from cyclegan.evaluation.image_set import SCALING, ImageSet
from cyclegan.evaluation.metrics.fid_kid import SUBSET_SIZE, SUBSETS
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.metrics.paired import SIGMA, WINDOW
from cyclegan.system.files import write_json

_PACKAGES = ("cyclegan", "torch", "torchvision", "numpy", "pillow")


def of_pictures(squares: ImageSet, there: int | None = None) -> dict[str, Any]:
    """Which pictures: the folder, how many of how many, and a digest of their names."""
    names = hashlib.sha256(b"\n".join(os.fsencode(name) for name in squares.names)).hexdigest()
    return {
        "folder": str(squares.root),
        "count": len(squares),
        "of": len(squares) if there is None else there,
        "unreadable": squares.unreadable,
        "names_sha256": names,
    }


def chosen_on(held_out: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Which held-out pictures decide which generators are the best: by domain how many, and a digest of their names."""
    return {
        domain: {name: value for name, value in of_pictures(squares).items() if name in ("count", "names_sha256")}
        for domain, squares in held_out.items()
    }


def of_method(tools: Tools, size: int | None) -> dict[str, Any]:
    """How pictures were scaled and compared, and with which versions."""
    within = f"{tools.threshold:g}"
    said: dict[str, Any] = {
        "size": size,
        "scaling": SCALING.format(size=size) if size else "as stored",
        "seed": tools.seed,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "paired": f"SSIM: windows of {WINDOW}×{WINDOW}, σ {SIGMA}, mean of R, G, B; within {within} levels of 255",
    }
    if tools.extractor is not None:
        features = tools.extractor
        said["features"] = {"name": features.name, "sha256": features.sha256, "how": features.how}
        said["kid"] = (
            f"unbiased MMD², kernel (xᵀy/D + 1)³; of more than {SUBSET_SIZE} pictures mean and deviation of {SUBSETS} "
            f"subsets of {SUBSET_SIZE}, else of all, with the deviation over {SUBSETS} random halves"
        )
        said["cycle"] = f"pictures not rounded to 8 bits on the way; noise gaussian, σ {tools.noise:g} of 255 levels"
    if tools.classifier is not None:
        said["judge"] = {**tools.classifier.about, "sha256": tools.classifier.sha256}
    return said


def clean(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None for what is no number."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def answer(
    figures: Mapping[str, float],
    protocol: Mapping[str, Any],
    best: Mapping[str, tuple[Mapping[str, float], Mapping[str, Any]]],
) -> dict[str, Any]:
    """What is stored and printed: {"metrics": …, "protocol": …}, and where there are best generators, beside the last,
    "best": {"<metric>": {"metrics": …, "protocol": …}, …}.
    """
    of_the_last = {"metrics": clean(figures), "protocol": dict(protocol)}
    return of_the_last | ({"best": {name: answer(*pair, {}) for name, pair in best.items()}} if best else {})


def store(path: Path, answer: Mapping[str, Any]) -> None:
    """Write `evaluation.json`; `CycleganError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, answer)
    except OSError as error:
        raise CycleganError(
            f"--output: cannot write {path} ({reason_of(error).lower()}); name another place"
        ) from error
