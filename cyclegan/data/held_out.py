"""The pictures that a run is looked at with, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.data.dataset import to_input
from cyclegan.data.kinds import InputKind, InputKinds, find_kinds
from cyclegan.data.loading.regions import is_large
from cyclegan.data.sets import FileList, PictureSets, in_hash_order
from cyclegan.data.transforms import fit, middle
from cyclegan.errors import CycleganError
from cyclegan.images import Picture, UnreadableImage, open_regions, read_header, read_picture


def held_out_pictures(
    domains: PictureSets, config: TrainConfig, count: int, views: InputKinds | None = None
) -> tuple[Tensor, Tensor]:
    """Up to `count` pictures of each domain to look at during a run, always the same ones: NCHW, crop size.

    They are the first of the held-out pictures by lot, or, where none are held out, of those that are learnt from;
    unreadable ones are passed over. They are shown as `views` say: uint8, or float32 in [0, 1]. Raises
    `CycleganError` where none can be read.
    """
    views = find_kinds(config, domains) if views is None else views
    a, b = (
        _first_readable(test if len(test) else train, config, count, views[domain])
        for domain, train, test in (
            ("a", domains.train_a, domains.test_a),
            ("b", domains.train_b, domains.test_b),
        )
    )
    return a, b


def _first_readable(pictures: FileList, config: TrainConfig, count: int, view: InputKind) -> Tensor:
    assert count >= 1, count
    fitted: list[Tensor] = []
    reasons: list[str] = []
    for index in in_hash_order(pictures):
        path = pictures.path(index)
        try:
            image = to_input(_looked_at(path, config), view, path)
        except UnreadableImage as error:
            reasons.append(str(error))
            continue
        fitted.append(_to_tensor(fit(image, config.load_size, config.crop_size)))
        if len(fitted) == count:
            break
    if not fitted:
        raise CycleganError(f"no held-out picture in {pictures.root} can be read, the first because: {reasons[0]}")
    return torch.stack(fitted)


def _looked_at(path: Path, config: TrainConfig) -> Picture:
    """A picture, or the middle of a large one where that is all that is looked at."""
    if config.load_size == 0 and is_large(header := read_header(path)):
        size = config.crop_size
        if min(header.height, header.width) >= size:
            with open_regions(path) as regions:
                return Picture(*regions.read(*middle(header.height, header.width, size), size, size))
    return read_picture(path)


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # HWC to CHW
