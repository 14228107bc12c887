"""Features of training pictures on the disk, for networks that take a minute for a thousand of them."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cyclegan.errors import reason_of
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.image_set import ImageSet
from cyclegan.system.files import atomic_write, cache_folder

log = logging.getLogger("cyclegan")


def features_of(extractor: Extractor, pictures: ImageSet) -> Tensor:
    """Features of `pictures`, N × D; of a slow extractor from the cache, or into it.

    They lie below `cyclegan.system.files.cache_folder()` by the names, sizes and times of the files, the size of the
    squares, and the network. A set with unreadable pictures is not kept, so that each start warns of them; neither is
    one where the folder cannot be written.
    """
    if not extractor.slow:
        return computed_features(extractor, pictures)
    file = cache_folder() / "features" / f"{_key(extractor, pictures)}.safetensors"
    features = _read(file, len(pictures))
    if features is None:
        log.info("computing features of %d pictures in %s, once for this data set", len(pictures), pictures.root)
        features = computed_features(extractor, pictures)
        if not pictures.unreadable:
            _write(file, features)
    return features


def computed_features(extractor: Extractor, pictures: ImageSet) -> Tensor:
    """Features of `pictures`, N × D."""
    return torch.cat([extractor(batch) for batch in pictures.batches()])


def _read(file: Path, count: int) -> Tensor | None:
    """Read the features of `count` pictures; None if they are missing or damaged."""
    try:
        features = load(file.read_bytes())["features"]
    except (OSError, SafetensorError, KeyError):
        return None
    return features if len(features) == count and features.isfinite().all() else None


def _write(file: Path, features: Tensor) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, save({"features": features.contiguous()}), durable=False)
    except OSError as error:
        log.info("features cannot be kept in %s (%s), and will be computed again", file.parent, reason_of(error))


def _key(extractor: Extractor, pictures: ImageSet) -> str:
    """Key of everything that features depend on. Devices differ in the last digits."""
    facts = (extractor.name, extractor.sha256, extractor.how, extractor.device.type, torch.__version__, pictures.size)
    return hashlib.sha256(repr(facts).encode() + pictures.stamp()).hexdigest()[:40]
