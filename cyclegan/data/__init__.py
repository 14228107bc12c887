"""Two folders of pictures to a stream of unpaired batches, the same whatever reads it.

Everything random about a sample follows from the seed and the number of the sample, so neither workers, nor ranks,
nor an interruption change what is learnt from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan.data.check import check_folders as check_folders
    from cyclegan.data.datasets import build_loader as build_loader
    from cyclegan.data.domains import Domains as Domains
    from cyclegan.data.domains import Pictures as Pictures
    from cyclegan.data.domains import find_domains as find_domains
    from cyclegan.data.examples import held_out as held_out
    from cyclegan.data.sampler import steps_per_epoch as steps_per_epoch
    from cyclegan.data.survey import find_views as find_views
    from cyclegan.data.views import View as View
    from cyclegan.data.views import ranges_of as ranges_of
    from cyclegan.data.views import record_of as record_of

_HOME = {
    "Domains": "domains",
    "Pictures": "domains",
    "View": "views",
    "build_loader": "datasets",
    "check_folders": "check",
    "find_domains": "domains",
    "find_views": "survey",
    "held_out": "examples",
    "ranges_of": "views",
    "record_of": "views",
    "steps_per_epoch": "sampler",
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
