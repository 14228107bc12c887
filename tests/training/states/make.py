"""Make the run in `tests/training/states/version-1.tar.xz` again: `python -m tests.training.states.make FOLDER`.

It was made by the program of commit a5826b9, the first whose states are promised to be read for ever, and is *not* to
be made again by a later one: it is here to show that what an old program wrote is still gone on with. The next
version of the format gets a file of its own beside it.

FOLDER must not exist. It gets `a` and `b`, four and three random pictures, and `run`, which is trained on them for
three steps and kept, then for two more, whose rows of figures are kept too: they say how the old program itself went
on. The least networks there are, of 1 channel and 6 blocks, make a state of 290 kilobytes.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = {"a": 4, "b": 3}
OPTIONS = {
    "generator": "resnet_6blocks",
    "channels": 1,
    "load_size": 36,
    "crop_size": 32,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "wandb": "disabled",
    "log_every": 1,
    "sample_every": 0,
    "evaluate_every": 0,
    "samples": 1,
    "holdout": 0.0,
    "decay_steps": 0,
    "ema_decay": 0.9,
    "compile": "off",
    "seed": 7,
    "options": {"pool_size": 2},
}
STEPS = 3
MORE = 5


def draw(folder: Path) -> None:
    """The pictures, the same every time: `folder/a` and `folder/b`."""
    for name, count in PICTURES.items():
        (folder / name).mkdir(parents=True)
        rng = np.random.default_rng(ord(name))
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def main(folder: Path) -> None:
    """Train, and pack what is kept as `folder/version-1.tar.xz`."""
    from cyclegan.config import TrainConfig
    from cyclegan.training import train

    draw(folder)
    places = {name: str(folder / name) for name in PICTURES}
    run = train(TrainConfig(**OPTIONS, **places, steps=STEPS), folder / "run")
    kept = folder / "version-1"
    shutil.copytree(run / "checkpoints", kept / "checkpoints")
    for name in ("config.yaml", "pictures.json"):
        shutil.copy(run / name, kept / name)
    train(TrainConfig(**OPTIONS, **places, steps=MORE), folder / "run")
    shutil.copy(run / "metrics.jsonl", kept / "metrics-of-more.jsonl")
    with tarfile.open(folder / "version-1.tar.xz", "w:xz") as packed:
        packed.add(kept, "version-1", filter=_nobody)


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """`entry` without the name of whoever made it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]))
