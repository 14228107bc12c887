"""Folders of pictures to measure on: drawn ones, or some of the user's."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import numpy as np

from cyclegan.data.demo.write import scene
from cyclegan.errors import UsageError
from cyclegan.images import UnreadableImage, list_images, read_image, write_image

SCENES = 8  # drawn once, 0.3 s each at 256²; the pictures are shifted copies of them
GRAIN = 4.0  # of 255: what a camera adds, without which a file is half as long as a photograph's, and decoded sooner


def draw(folder: Path, count: int, size: int, suffix: str = ".jpg") -> None:
    """`count` pictures of `size`² pixels into `folder`, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [scene(0, "train", "a", index, size).plain for index in range(min(SCENES, count))]
    rng = np.random.default_rng(0)
    for number, drawn in enumerate(islice(cycle(scenes), count)):
        shifted = np.roll(drawn, tuple(rng.integers(size, size=2)), axis=(0, 1))
        grainy = shifted + rng.normal(0, GRAIN, shifted.shape)
        write_image(folder / f"{number:05d}{suffix}", np.clip(np.round(grainy), 0, 255).astype(np.uint8))


def take(source: Path, folder: Path, count: int, size: int, suffix: str) -> None:
    """The middle of the first `count` pictures below `source`, scaled to `size`² pixels, as new files in `folder`."""
    from cyclegan.data.transforms import fit

    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(_first(source, count)):
        try:
            picture = read_image(source / name)
        except UnreadableImage as error:
            raise UsageError(f"--source: {error}; name a folder of sound pictures") from None
        write_image(folder / f"{number:05d}{suffix}", fit(picture, size, size))


def link(source: Path, folders: tuple[Path, ...], count: int) -> None:
    """Links to the first pictures below `source`, as they are, dealt out so that each of `folders` gets `count`."""
    names = _first(source, count * len(folders))
    for place, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names[place :: len(folders)]):
            (folder / f"{number:05d}{Path(name).suffix}").symlink_to((source / name).resolve())


def _first(source: Path, count: int) -> list[str]:
    names = list_images(source)[:count]
    if len(names) < count:
        raise UsageError(f"--source: there are {len(names)} pictures, {count} are needed; lower --pictures")
    return names
