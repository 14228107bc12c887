"""What stands in the way of an evaluation while training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cyclegan.config import TrainConfig
from cyclegan.data import View
from cyclegan.data.large import is_large
from cyclegan.data.views import Views
from cyclegan.evaluation.judge import FEWEST
from cyclegan.evaluation.squares import Squares
from cyclegan.images import UnreadableImage, read_header

FEWEST_HELD_OUT = 2  # of one picture there is no distance


def obstacles(
    config: TrainConfig, views: Views, held_out: Mapping[str, Squares], training: Mapping[str, Squares]
) -> Iterator[str]:
    """Why the pictures cannot be evaluated on, if so: each reason a clause. Headers are read, and nothing else."""
    for domain in "ab":
        name, known, asked = domain.upper(), training[domain], held_out[domain]
        if views[domain].depends_on != View().depends_on:
            yield f"the judge sees 8-bit RGB of --range full, and the pictures of {name} are shown otherwise"
        if len(known) < FEWEST:
            yield f"{len(known)} pictures of {name} to learn from are too few to teach a judge, which takes {FEWEST}"
        if len(asked) < FEWEST_HELD_OUT:
            yield f"{len(asked)} pictures of {name} are held out, and it takes {FEWEST_HELD_OUT}; see --holdout"
        # Scaled pictures are decoded whole anyway; those that squares are cut from may be slides of many GB
        if not config.load_size and any(map(_is_large, (*known.paths(), *asked.paths()))):
            yield f"pictures of {name} are so large that they are read in parts, and a judge sees whole ones"


def _is_large(path: Path) -> bool:
    try:
        return is_large(read_header(path))
    except UnreadableImage:  # passed over with a warning when its turn comes
        return False
