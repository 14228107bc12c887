"""Fingerprint of a job: every setting that changes pixels or names of translations."""

from __future__ import annotations

from typing import Any

from cyclegan.models import weights_sha256
from cyclegan.translation.job.naming import Naming
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.translator import Translator


def fingerprint_of(translator: Translator, settings: TranslationSettings, naming: Naming) -> dict[str, Any]:
    """Collect the settings by option name without dashes: SHA-256 of the weights, direction, precision, …

    A translator made in memory has no direction; its weights identify it.
    """
    scales = translator.scales
    known = {
        "model": weights_sha256(translator.generator.state_dict()),
        "precision": str(translator.dtype).removeprefix("torch."),
        "range": scales.source.text if scales.target is None else f"{scales.source.text} to {scales.target.text}",
        "size": settings.io.size,
        "tile": "off" if settings.tile is None else settings.tile,
        "overlap": settings.overlap,
        "quality": settings.io.quality,
        "format": None if naming.format is None else naming.format.removeprefix("."),
        "suffix": naming.suffix,
        "flat": naming.flat,
    }
    loaded = settings.model is not None and translator.direction is not None
    return {"direction": translator.direction.key, **known} if loaded else known  # type: ignore[union-attr]
