"""Folders of pictures to a stream of batches, paired or not, the same whatever reads it.

Everything random about a sample follows from the seed and the number of the sample, so neither workers, nor ranks,
nor an interruption change what is learnt from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan.data.check.report import check_folders as check_folders
    from cyclegan.data.dataset import build_loader as build_loader
    from cyclegan.data.held_out import held_out_pictures as held_out_pictures
    from cyclegan.data.kinds import InputKind as InputKind
    from cyclegan.data.kinds import find_kinds as find_kinds
    from cyclegan.data.kinds import ranges_of as ranges_of
    from cyclegan.data.kinds import record_of as record_of
    from cyclegan.data.sets import FileList as FileList
    from cyclegan.data.sets import PictureSets as PictureSets
    from cyclegan.data.sets import find_sets as find_sets
    from cyclegan.data.sets import steps_per_epoch as steps_per_epoch

_HOME = {
    "PictureSets": "sets",
    "FileList": "sets",
    "InputKind": "kinds",
    "build_loader": "dataset",
    "check_folders": "check.report",
    "find_sets": "sets",
    "find_kinds": "kinds",
    "held_out_pictures": "held_out",
    "ranges_of": "kinds",
    "record_of": "kinds",
    "steps_per_epoch": "sets",
}
__all__ = [
    "FileList",
    "InputKind",
    "PictureSets",
    "build_loader",
    "check_folders",
    "find_kinds",
    "find_sets",
    "held_out_pictures",
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
