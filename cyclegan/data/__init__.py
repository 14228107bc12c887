"""Two folders of pictures to a stream of unpaired batches, the same whatever reads it.

Everything random about a sample follows from the seed and the number of the sample, so neither workers, nor ranks,
nor an interruption change what is learnt from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan.data.check.report import check_folders as check_folders
    from cyclegan.data.dataset import build_loader as build_loader
    from cyclegan.data.held_out import held_out as held_out
    from cyclegan.data.kinds import View as View
    from cyclegan.data.kinds import find_views as find_views
    from cyclegan.data.kinds import ranges_of as ranges_of
    from cyclegan.data.kinds import record_of as record_of
    from cyclegan.data.pairing import steps_per_epoch as steps_per_epoch
    from cyclegan.data.sets import Domains as Domains
    from cyclegan.data.sets import Pictures as Pictures
    from cyclegan.data.sets import find_domains as find_domains

_HOME = {
    "Domains": "sets",
    "Pictures": "sets",
    "View": "kinds",
    "build_loader": "dataset",
    "check_folders": "check.report",
    "find_domains": "sets",
    "find_views": "kinds",
    "held_out": "held_out",
    "ranges_of": "kinds",
    "record_of": "kinds",
    "steps_per_epoch": "pairing",
}
__all__ = [
    "Domains",
    "Pictures",
    "View",
    "build_loader",
    "check_folders",
    "find_domains",
    "find_views",
    "held_out",
    "ranges_of",
    "record_of",
    "steps_per_epoch",
]


def __getattr__(name: str) -> Any:
    # Imported on first use (PEP 562): checking folders and drawing the demo need neither torch nor albumentations,
    # which take four seconds between them.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
