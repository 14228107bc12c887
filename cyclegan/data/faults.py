"""What is wrong with a picture that is to be learnt from, in words that name its file."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np

from cyclegan.data.pipelines import first_line
from cyclegan.data.views import View
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import Picture, UnreadableImage, printable


def shown(picture: Picture, view: View, path: Path) -> np.ndarray:
    """What `view` makes of a picture; `UnreadableImage` where it cannot be learnt from with the others.

    Numbers that are not finite are none of a picture: painted black, as in translating, they would be learnt.
    """
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        count = picture.pixels.size - np.count_nonzero(np.isfinite(picture.pixels))
        raise UnreadableImage(path, f"{count} of its {picture.pixels.size} numbers are not finite (NaN or Inf)")
    try:
        return view.of(picture)
    except ValueError as error:
        raise UnreadableImage(path, str(error)) from None


def explained(path: Path, error: Exception) -> Exception:
    """What went wrong with a picture, other than that it cannot be read, as one sentence with its file.

    The traceback goes along as a note, which survives the way out of a reader: it may be a mistake of ours.
    """
    name = printable(str(path))
    if isinstance(error, UsageError):  # by --augment
        return UsageError(f"{error} (the picture is {name})")
    if isinstance(error, CycleganError | AssertionError):
        return error
    if isinstance(error, MemoryError):
        return CycleganError(
            f"{name}: memory ran out while it was read; lower --workers, give --cache disk, or remove it"
        )
    failure = CycleganError(
        f"{name} could not be made part of a batch ({type(error).__name__}: {first_line(error)}); "
        "mend or remove it, or report this with the picture"
    )
    failure.add_note("".join(traceback.format_exception(error)))
    return failure
