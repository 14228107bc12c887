"""Protocol of an evaluation, without which its figures compare with nothing."""

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
from cyclegan.evaluation.metrics.metric import Tools
from cyclegan.evaluation.metrics.paired import SIGMA, WINDOW
from cyclegan.system.files import write_json

_PACKAGES = ("cyclegan", "torch", "torchvision", "numpy", "pillow")


def of_pictures(pictures: ImageSet, of: int) -> dict[str, Any]:
    """Folder, number (`of` all that are there) and digest of the names of some pictures."""
    lost = {"of": of, "unreadable": pictures.unreadable}
    return {"folder": str(pictures.root), "count": len(pictures), **lost, "names_sha256": _names_sha256(pictures)}


def chosen_on(held_out: Mapping[str, ImageSet]) -> dict[str, Any]:
    """By domain, number and digest of the names of the pictures that choose the best."""
    return {d: {"count": len(some), "names_sha256": _names_sha256(some)} for d, some in held_out.items()}


def _names_sha256(pictures: ImageSet) -> str:
    return hashlib.sha256(b"\n".join(map(os.fsencode, pictures.names))).hexdigest()


def of_method(tools: Tools, size: int | None) -> dict[str, Any]:
    """The scaling, the comparing, and the versions of packages."""
    within = f"within {tools.threshold:g} levels of 255"
    protocol: dict[str, Any] = {
        "size": size,
        "scaling": SCALING.format(size=size) if size else "as stored",
        "seed": tools.seed,
        "versions": {**{name: version(name) for name in _PACKAGES}, "python": platform.python_version()},
        "paired": f"SSIM: windows of {WINDOW}×{WINDOW}, σ {SIGMA}, mean of R, G, B; {within}",
    }
    if (features := tools.extractor) is not None:
        protocol["features"] = {"name": features.name, "sha256": features.sha256, "how": features.how}
        protocol["kid"] = (
            f"unbiased MMD², kernel (xᵀy/D + 1)³; of more than {SUBSET_SIZE} pictures mean and deviation of {SUBSETS} "
            f"subsets of {SUBSET_SIZE}, else of all, with the deviation over {SUBSETS} random halves"
        )
        protocol["cycle"] = f"pictures not rounded to 8 bits on the way; noise gaussian, σ {NOISE:g} of 255 levels"
    if tools.classifier is not None:
        protocol["judge"] = {**tools.classifier.about, "sha256": tools.classifier.sha256}
    return protocol


def clean(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None for NaN and infinities."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def answer(figures: Mapping[str, float], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The stored and printed form of an evaluation: {"metrics": …, "protocol": …}.

    Where there are best generators beside the last, it has "best": {"<metric>": {"metrics": …, "protocol": …}, …} too.
    """
    return {"metrics": clean(figures), "protocol": dict(protocol)}


def store(path: Path, answer: Mapping[str, Any]) -> None:
    """Write `evaluation.json`; `CycleganError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, answer)
    except OSError as error:
        raise CycleganError(
            f"--output: cannot write {path} ({reason_of(error).lower()}); name another place"
        ) from error
