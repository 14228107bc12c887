"""Held-out pictures for the sample grids of a run, the same ones each time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.data.dataset import to_input
from cyclegan.data.kinds import InputKinds, find_kinds
from cyclegan.data.loading.regions import is_large
from cyclegan.data.pairing import PAIRINGS, groups
from cyclegan.data.sets import FileList, PictureSets, in_hash_order
from cyclegan.data.transforms import fit, middle, require_equal_size
from cyclegan.errors import CycleganError
from cyclegan.images import Picture, UnreadableImage, open_regions, read_header, read_picture


def held_out_pictures(
    sets: PictureSets, config: TrainConfig, count: int, kinds: InputKinds | None = None
) -> dict[str, Tensor]:
    """Up to `count` pictures of each domain for samples, always the same ones: NCHW of crop size, of the given `kinds`.

    They are the first of the held-out pictures in hash order, or, where none are held out, of the training pictures;
    unreadable ones are skipped, and so are their partners where pictures are paired. They are uint8, or float32 in
    [0, 1]. Raises `CycleganError` where none can be read.
    """
    kinds = find_kinds(config, sets) if kinds is None else kinds
    found: dict[str, Tensor] = {}
    for group in groups(PAIRINGS[sets.pairing], tuple(sets.train)):
        lists = {domain: sets.test[domain] if len(sets.test[domain]) else sets.train[domain] for domain in group}
        found |= _first_readable(lists, config, count, kinds)
    return found


def _first_readable(
    lists: Mapping[str, FileList], config: TrainConfig, count: int, kinds: InputKinds
) -> dict[str, Tensor]:
    assert count >= 1, count
    rows: list[dict[str, np.ndarray]] = []
    reasons: list[str] = []
    for index in in_hash_order(next(iter(lists.values()))):
        try:
            rows.append(_crops({domain: pictures.path(index) for domain, pictures in lists.items()}, config, kinds))
        except UnreadableImage as error:
            reasons.append(str(error))
        if len(rows) == count:
            break
    if not rows:
        roots = " and ".join(str(pictures.root) for pictures in lists.values())
        raise CycleganError(f"no held-out picture in {roots} can be read, the first because: {reasons[0]}")
    stacks = {domain: np.stack([row[domain].transpose(2, 0, 1) for row in rows]) for domain in lists}  # HWC to NCHW
    return {domain: torch.from_numpy(np.ascontiguousarray(stack)) for domain, stack in stacks.items()}


def _crops(paths: Mapping[str, Path], config: TrainConfig, kinds: InputKinds) -> dict[str, np.ndarray]:
    """Centre crops of pictures that are read together."""
    sizes: dict[Path, tuple[int, int]] = {}
    crops = {}
    for domain, path in paths.items():
        picture, sizes[path] = _read(path, config)
        crops[domain] = fit(to_input(picture, kinds[domain], path), config.load_size, config.crop_size)
    require_equal_size(sizes, config.load_size or None)
    return crops


def _read(path: Path, config: TrainConfig) -> tuple[Picture, tuple[int, int]]:
    """A picture, or the centre crop of a large one if nothing is scaled, with the height and width of the picture."""
    if config.load_size == 0 and is_large(header := read_header(path)):
        size = config.crop_size
        if min(header.height, header.width) >= size:
            with open_regions(path) as regions:
                part = regions.read(*middle(header.height, header.width, size), size, size)
                return Picture(*part), (header.height, header.width)
    picture = read_picture(path)
    return picture, (picture.height, picture.width)
