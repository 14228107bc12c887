"""Demo data set: unpaired folders of plain (A) and striped (B) drawn animals, with ground truth for the test pictures.

Real unpaired data has no ground truth to compare a translation with, hence the name. Here every scene is drawn
twice, so the held-out pictures come with their true counterparts: the same animal, pose, place and light in the other
coat. Training never sees a pair: no scene is in two of the folders.

    trainA trainB testA testB     the data set, laid out as a user's own
    truth/testA truth/testB       the counterpart of the picture of the same name in testA, testB
    truth/maskA truth/maskB       its coat: 255 inside, 0 outside, between them in the pixels of the outline
    demo.json                     the parameters of the drawing
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cyclegan.data.demo.animal import Pair, draw
from cyclegan.errors import UsageError
from cyclegan.images import write_image
from cyclegan.system.files import make_folder, write_json

MANIFEST = "demo.json"
VERSION = 1  # of the drawing; other versions draw other pictures from the same seed
SMALLEST = 16  # pixels; a smaller animal cannot be recognised

Split = Literal["train", "test"]
Domain = Literal["a", "b"]
_SPLITS: dict[Split, int] = {"train": 0, "test": 1}
_DOMAINS: dict[Domain, int] = {"a": 0, "b": 1}


@dataclass(frozen=True)
class Demo:
    """Training and test pictures per domain of a demo folder, and the parameters of the drawing."""

    count: int
    test_count: int
    size: int
    seed: int


def scene(seed: int, split: Split, domain: Domain, index: int, size: int) -> Pair:
    """The scene of picture `index`, in both coats, `size` × `size` pixels.

    It depends on these arguments alone, so that more pictures change none of the earlier ones, and `size` changes only
    its resolution.
    """
    assert min(seed, index) >= 0, (seed, index)
    assert size >= SMALLEST, size
    return draw(np.random.default_rng([seed, _SPLITS[split], _DOMAINS[domain], index]), size)


def write_demo(
    dest: str | os.PathLike[str],
    *,
    count: int = 200,
    test_count: int = 40,
    size: int = 64,
    seed: int = 0,
    advance: Callable[[int], object] = lambda pictures: None,
) -> Demo:
    """Draw the missing pictures of a demo in the folder `dest`, and return its counts and parameters.

    Each domain has `count` training and `test_count` test pictures. `advance` is called with the number of scenes done
    since the last call, 2 × (`count` + `test_count`) in all. Running again draws only missing pictures and removes
    none. Raises `UsageError` for numbers out of range, and if `dest` holds something else or a demo with another seed
    or size.
    """
    values = {"--count": count, "--test-count": test_count, "--size": size, "--seed": seed}
    for option, value in values.items():
        least = SMALLEST if option == "--size" else 0
        if value < least:
            raise UsageError(f"{option} {value} is too small; the least is {least}")
    root = make_folder(dest, "DEST")
    old = _present(root) or Demo(0, 0, size, seed)
    if (old.size, old.seed) != (size, seed):
        raise UsageError(
            f"{root} holds a demo of --size {old.size} --seed {old.seed}; give the same, or name another folder"
        )
    demo = Demo(max(count, old.count), max(test_count, old.test_count), size, seed)
    # Before the first picture, so that an interrupted drawing is recognised and completed by the next call
    write_json(root / MANIFEST, {"format": "cyclegan-demo", "version": VERSION, **vars(demo)})
    for folder in ("trainA", "trainB", "testA", "testB", "truth/testA", "truth/testB", "truth/maskA", "truth/maskB"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for domain in _DOMAINS:
        for split, pictures in zip(_SPLITS, (count, test_count), strict=True):
            for index in range(pictures):
                _write_scene(root, seed, split, domain, index, size)
                advance(1)
    return demo


def _write_scene(root: Path, seed: int, split: Split, domain: Domain, index: int, size: int) -> None:
    """Write the files of one scene unless all exist; each is written whole or not at all."""
    name = f"{index:04d}.png"
    shown, other = ("plain", "striped") if domain == "a" else ("striped", "plain")
    contents = {f"{split}{domain.upper()}": shown}
    if split == "test":
        contents |= {f"truth/test{domain.upper()}": other, f"truth/mask{domain.upper()}": "coat"}
    if all((root / folder / name).exists() for folder in contents):
        return
    pair = scene(seed, split, domain, index, size)
    for folder, content in contents.items():
        write_image(root / folder / name, getattr(pair, content))


def _present(root: Path) -> Demo | None:
    """The demo in `root`; None for an empty folder (hidden files aside)."""
    if all(entry.name.startswith(".") for entry in root.iterdir()):
        return None
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        if (manifest["format"], manifest["version"]) == ("cyclegan-demo", VERSION):
            return Demo(*(int(manifest[key]) for key in ("count", "test_count", "size", "seed")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # no manifest, or one of something else
    raise UsageError(f"{root} is not empty and holds something else; name a new or an empty folder")
