"""What a translation was made with: everything that changes its pixels or its name, in words that can be compared."""

from __future__ import annotations

from typing import Any

from cyclegan.models import weights_sha256
from cyclegan.translation.job.naming import Naming
from cyclegan.translation.runners import TranslationSettings
from cyclegan.translation.translator import Translator


def fingerprint_of(translator: Translator, work: TranslationSettings, naming: Naming) -> dict[str, Any]:
    """By the name of the option without its dashes: the weights of the model as SHA-256, direction, precision, …

    A translator that was made in memory knows no direction; it is known by its weights.
    """
    scales = translator.scales
    known = {
        "model": weights_sha256(translator.generator.state_dict()),
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
    loaded = work.model is not None and translator.direction is not None
    return {"direction": translator.direction.key, **known} if loaded else known  # type: ignore[union-attr]
