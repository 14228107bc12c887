"""A file or a whole folder of pictures through a translator: every one translated, skipped, or listed with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan.errors import UsageError
from cyclegan.translation.batch_sizes import BatchSizes
from cyclegan.translation.jobs import Job, plan
from cyclegan.translation.pipeline import Pipeline
from cyclegan.translation.translator import Translator


@dataclass
class Summary:
    """What became of the pictures of a job."""

    translated: int = 0
    skipped: int = 0  # their translations were there already
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason

    @property
    def finished(self) -> int:
        """How many pictures have been dealt with, one way or another."""
        return self.translated + self.skipped + len(self.failed)


def translate_folder(
    translator: Translator,
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    overwrite: bool = False,
    png_level: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Translate the picture `source`, or all pictures below it, to the same relative names below `dest`.

    What `dest` already has is skipped unless `overwrite`, so that a job that was interrupted goes on where it stopped.
    A `dest` inside `source` is not translated again. For a single picture `dest` may also be a file name, whose suffix
    then decides the format. Files appear whole or not at all, in no fixed order. `batch_size` pictures of equal size
    are computed at a time, None chooses (see `BatchSizes`); fewer where they do not fit in the memory. PNG is
    compressed at `png_level`, 0 (not at all) to 9 (slowest). `on_progress` is told how many of how many are done.

    Raises `UsageError`, before any work, where source or destination cannot be meant.
    """
    if translator.in_channels != 3:
        raise UsageError(f"MODEL works on pictures of {translator.in_channels} channels, those of files have 3")
    assert batch_size is None or batch_size >= 1, batch_size
    planned = plan(Path(source), Path(dest))
    todo = [job for job in planned if overwrite or not os.path.lexists(job.target)]
    summary = Summary(skipped=len(planned) - len(todo))
    on_progress(summary.finished, len(planned))

    def settle(job: Job, reason: str | None) -> None:
        if reason is None:
            summary.translated += 1
        else:
            summary.failed.append((job.name, reason))
        on_progress(summary.finished, len(planned))

    Pipeline(translator, BatchSizes(translator, batch_size, len(todo)), png_level, settle).run(todo)
    summary.failed.sort()
    return summary
