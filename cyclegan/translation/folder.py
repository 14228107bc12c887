"""Restartable translation of a picture, folder, list or archive.

Each picture is translated, skipped, or listed with a reason once, however often the job is started.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import replace
from pathlib import Path

from cyclegan.errors import UsageError, lookup
from cyclegan.translation.job.destination import Jobs, find_destination, refuse_damage
from cyclegan.translation.job.fingerprint import fingerprint_of
from cyclegan.translation.job.naming import Naming, Shard, folding_of, refuse_clashes
from cyclegan.translation.job.progress import FolderJob, Progress, Summary
from cyclegan.translation.job.record import JobRecord
from cyclegan.translation.job.source import list_source
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.ray import engine as cluster
from cyclegan.translation.runners import Engine, EngineOptions, TranslationSettings, translate_jobs
from cyclegan.translation.translator import Translator

ENGINES: dict[str, Engine] = {"local": translate_jobs, "ray": cluster.run}


def translate_folder(
    translator: Translator,
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    png_level: int = 1,
    settings: TranslationSettings | None = None,
    naming: Naming = Naming(),
    shard: Shard | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    strict: bool = False,
    engine: str = "local",
    address: str | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Summary:
    """Translate a picture, or all pictures of a folder, list or archive, into `dest`.

    Relative names below `dest` come from `naming`. Existing translations are skipped unless `overwrite`, so that an
    interrupted job resumes where it stopped, also one with `overwrite`; those made by another model or with other
    options are refused. Pictures that could not be translated are listed in `dest/.cyclegan/failed.jsonl` and tried
    again if their files have changed, or all of them with `retry_failed`; `strict` stops at the first failure.
    `shard` selects a part of the job.

    For a single picture `dest` may also be a file name, whose suffix then sets the format; for an archive (`.tar`) it
    may be another archive. Files are written atomically, in no fixed order. `batch_size` pictures of one kind share a
    pass; None chooses (see `BatchSizes`). PNG is compressed at `png_level`, 0 (none) to 9 (slowest). `settings`
    replaces both and has all others; its folders are set here. `engine` is a key of `ENGINES`.

    Raises `UsageError`, before any work, for an unusable source or destination.
    """
    assert batch_size is None or batch_size >= 1, batch_size
    run = lookup(ENGINES, engine, "--engine")
    source, dest = os.fspath(source), Path(dest)
    settings = settings or TranslationSettings(PictureIO(png_level=png_level), batch_size=batch_size)
    settings.tiling(translator.generator)  # refused before any work
    place = find_destination(source, dest, naming)
    listing = list_source(source, place.root)
    every = Jobs(listing, place, naming, array("q", range(len(listing.names))))
    if naming.changes or not listing.distinct:
        refuse_clashes(every.named, None, "")
    refuse_damage(every, place.root)
    if shard is not None and (place.archive is not None or place.record is None):
        raise UsageError("--shard: splits only jobs that write to a folder; give each archive a job of its own")
    place.make()
    settings = replace(settings, io=replace(settings.io, root=os.path.abspath(place.root)))
    if place.record is None:
        return _translate_one(run, settings, every, EngineOptions(translator, address), overwrite, on_progress)
    record = JobRecord(place.record, shard)
    job = FolderJob(
        *(place, every, listing.bad, record), naming=naming, shard=shard, strict=strict, on_progress=on_progress
    )
    with record.held():
        settings = replace(settings, io=replace(settings.io, temporary=os.path.abspath(record.temporary)))
        fold = folding_of(record.temporary)
        fingerprint = fingerprint_of(translator, settings, naming)
        todo = job.begin(fingerprint, fold, overwrite=overwrite, retry_failed=retry_failed)
        options = EngineOptions(translator, address, job.summary.note)
        job.run(lambda on_result: run(settings, todo, on_result, options), source)
    job.summary.failed.sort()
    return job.summary


def _translate_one(
    run: Engine, settings: TranslationSettings, jobs: Jobs, options: EngineOptions, overwrite: bool, progress: Progress
) -> Summary:
    """Translate a single picture, for which no record is kept."""
    summary = Summary()
    if not overwrite and os.path.lexists(os.path.join(settings.io.root, jobs[0].target)):
        summary.skipped = 1
    else:
        progress(0, 1)
        run(settings, jobs, lambda job, failure: summary.settle(job.name, failure), replace(options, note=summary.note))
    progress(1, 1)
    return summary
