"""What a translation was made with: everything that changes its pixels or its name, in words that can be compared."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from cyclegan.translation.job.naming import Naming
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.translator import Translator


def fingerprint_of(translator: Translator, work: TranslationSettings, naming: Naming) -> dict[str, Any]:
    """By the name of the option without its dashes: the weights of the model as SHA-256, direction, precision, …

    A translator that was made in memory knows no direction; it is known by its weights.
    """
    scales = translator.scales
    known = {
        "model": _weights(translator),
        "precision": str(translator.dtype).removeprefix("torch."),
        "range": scales.source.text if scales.target is None else f"{scales.source.text} to {scales.target.text}",
        "size": work.ends.size,
        "tile": "off" if work.tile is None else work.tile,
        "overlap": work.overlap,
        "quality": work.ends.quality,
        "format": None if naming.format is None else naming.format.removeprefix("."),
        "suffix": naming.suffix,
        "flat": naming.flat,
    }
    return known if work.model is None else {"direction": work.direction, **known}


def _weights(translator: Translator) -> str:
    """The SHA-256 of the weights, whatever file they came from and wherever they are."""
    hasher = hashlib.sha256()
    for name, value in sorted(translator.generator.state_dict().items()):
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
