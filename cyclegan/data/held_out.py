"""The pictures that a run is looked at with, the same ones each time."""

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
from cyclegan.data.transforms import fit, middle, require_one_view
from cyclegan.errors import CycleganError
from cyclegan.images import Picture, UnreadableImage, open_regions, read_header, read_picture


def held_out_pictures(
    sets: PictureSets, config: TrainConfig, count: int, kinds: InputKinds | None = None
) -> dict[str, Tensor]:
    """Up to `count` pictures of each domain to look at during a run, always the same ones: NCHW, crop size.

    They are the first of the held-out pictures by lot, or, where none are held out, of those that are learnt from;
    unreadable ones are passed over, and so are their partners where pictures are paired. They are shown as `kinds`
    say: uint8, or float32 in [0, 1]. Raises `CycleganError` where none can be read.
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
            rows.append(_squares({domain: pictures.path(index) for domain, pictures in lists.items()}, config, kinds))
        except UnreadableImage as error:
            reasons.append(str(error))
        if len(rows) == count:
            break
    if not rows:
        roots = " and ".join(str(pictures.root) for pictures in lists.values())
        raise CycleganError(f"no held-out picture in {roots} can be read, the first because: {reasons[0]}")
    return {domain: torch.stack([_to_tensor(row[domain]) for row in rows]) for domain in lists}


def _squares(paths: Mapping[str, Path], config: TrainConfig, kinds: InputKinds) -> dict[str, np.ndarray]:
    """The middles of pictures that are looked at together."""
    sizes: dict[Path, tuple[int, int]] = {}
    squares = {}
    for domain, path in paths.items():
        picture, sizes[path] = _looked_at(path, config)
        squares[domain] = fit(to_input(picture, kinds[domain], path), config.load_size, config.crop_size)
    require_one_view(sizes, config.load_size or None)
    return squares


def _looked_at(path: Path, config: TrainConfig) -> tuple[Picture, tuple[int, int]]:
    """A picture, or the middle of a large one where that is all that is looked at; and its height and width."""
    if config.load_size == 0 and is_large(header := read_header(path)):
        size = config.crop_size
        if min(header.height, header.width) >= size:
            with open_regions(path) as regions:
                part = regions.read(*middle(header.height, header.width, size), size, size)
                return Picture(*part), (header.height, header.width)
    picture = read_picture(path)
    return picture, (picture.height, picture.width)


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # HWC to CHW
