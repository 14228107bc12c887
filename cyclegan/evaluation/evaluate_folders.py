"""Two folders of pictures, translated ones and real ones, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from cyclegan.errors import UsageError
from cyclegan.evaluation.features import Extractor
from cyclegan.evaluation.image_set import ImageSet, centre_square
from cyclegan.evaluation.metrics.metric import Measured
from cyclegan.evaluation.metrics.paired import by_stem, matched
from cyclegan.images import list_images, read_image, stored_size


def names_in(folder: Path, option: str) -> list[str]:
    """The pictures below a folder; `UsageError`, naming the option, where there is none."""
    if not folder.is_dir():
        raise UsageError(f"{option}: {folder} is not a folder; name the one that holds the pictures")
    names = list_images(folder)
    if not names:
        raise UsageError(f"{option}: {folder} holds no picture; name the folder that holds them")
    return names


def common_size(folders: dict[str, Path]) -> int:
    """The shorter side of the pictures in all folders, which have to be of one size; `UsageError` otherwise.

    `folders` are by the option that named them. Only headers are read.
    """
    sizes: dict[tuple[int, int], Path] = {}
    for option, folder in folders.items():
        for name in names_in(folder, option):
            sizes.setdefault(stored_size(folder / name), folder / name)
    if len(sizes) > 1:
        (first, here), (second, there) = list(sizes.items())[:2]
        raise UsageError(
            f"the pictures are of different sizes ({here} is {first[1]}×{first[0]}, {there} is "
            f"{second[1]}×{second[0]}); give --size N to scale all to squares of N pixels"
        )
    return min(next(iter(sizes)))


def in_order_of(squares: ImageSet, folder: Path, option: str) -> ImageSet:
    """The pictures of `folder` with the names of those in `squares`, in their order; `UsageError` where one lacks."""
    names = matched(squares.names, by_stem(names_in(folder, option), folder, option), folder, option)
    return ImageSet(folder, names, squares.size, whole=True)


def translated(fakes: ImageSet, sources: ImageSet | None, extractor: Extractor) -> Iterator[Measured]:
    """Batches of translations, with their inputs where there are any."""
    inputs = repeat(None) if sources is None else sources.batches()
    for fake, source in zip(fakes.batches(), inputs, strict=sources is not None):
        yield Measured(fake, source, extractor=extractor)


def with_truths(fake: Path, truth: Path, size: int | None, *, nearest: bool) -> Iterator[Measured]:
    """Each picture of `fake` with that of the same name in `truth`, as stored, or as squares of `size`.

    `nearest` is for label maps, which may get no new colours. Raises `UsageError` for names that do not match and for
    pictures of different sizes.
    """
    names = names_in(fake, "--fake")
    truths = matched(tuple(names), by_stem(names_in(truth, "--truth"), truth, "--truth"), truth)
    for name, true_name in zip(names, truths, strict=True):
        picture, right = read_image(fake / name), read_image(truth / true_name)
        if size is not None:
            picture, right = (centre_square(image, size, nearest=nearest) for image in (picture, right))
        if picture.shape != right.shape:
            raise UsageError(
                f"--truth: {truth / true_name} is {right.shape[1]}×{right.shape[0]} and {fake / name} is "
                f"{picture.shape[1]}×{picture.shape[0]}; give a truth of the same size, or --size N to scale both"
            )
        made, wanted = (torch.from_numpy(np.array(image, order="C"))[None] for image in (picture, right))
        yield Measured(made.permute(0, 3, 1, 2), truth=wanted.permute(0, 3, 1, 2))
