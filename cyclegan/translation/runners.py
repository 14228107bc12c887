"""What another machine needs in order to translate some of a job's pictures, and the engine that does so on this one.

An engine gets the work, the jobs that are to be done and `settle`, which it calls once for each of them in the thread
that called the engine. It neither finds out what is left to do nor keeps a record: `translate_folder`, which has the
table of engines, does both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cyclegan.errors import UsageError
from cyclegan.images import parse_range
from cyclegan.networks import GeneratorLike
from cyclegan.translation.batching import BatchSizes
from cyclegan.translation.jobs import Failure, Job, PictureIO
from cyclegan.translation.pipeline import Listener, TranslationPipeline
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.tiling.single import Single
from cyclegan.translation.translator import Translator
from cyclegan.translation.value_scale import ValueScale

__all__ = ["Engine", "EngineOptions", "Failure", "Job", "OnResult", "TranslationSettings", "translate_jobs"]

OnResult = Callable[[Job, Failure | None], None]


@dataclass(frozen=True)
class TranslationSettings:
    """All that `translate_jobs` needs beside the jobs; picklable. Paths are the same on every machine."""

    ends: PictureIO  # how pictures are read, and where and how translations are written
    model: str | None = None  # a file or a run; None: the translator exists in this process alone
    direction: str | None = None  # None: the model's only one, or its first
    device: str = "auto"
    precision: str = "auto"
    range: str | None = None  # see `parse_range`; None: as the model says
    batch_size: int | None = None  # None chooses
    tile: int | Literal["auto"] | None = "auto"  # None: never in tiles
    overlap: int | None = None  # of tiles, in pixels; None chooses
    max_memory: int | None = None  # bytes that a picture may take as a whole; None measures

    def translator(self) -> Translator:
        """The model, loaded. What owns the process also calls `cyclegan.system.devices.prepare` for its device.

        Raises `UsageError` and `CycleganError` as `Translator.load` does.
        """
        assert self.model is not None, "this work has no model that could be loaded"
        rule = None if self.range is None else parse_range(self.range, "--range")  # refused before anything is read
        translator = Translator.load(self.model, self.direction, self.device, self.precision)
        if rule is not None:
            translator.scales = ValueScale(rule)
        return translator

    def tiling(self, generator: GeneratorLike) -> Tiling | None:
        """Which pictures go in tiles through `generator`; None where none ever does.

        Raises `UsageError` for tiles that cannot be meant, or that are asked of a network that takes whole pictures
        only.
        """
        if self.tile is None:
            return None
        tiling = Tiling(self.tile, self.overlap, self.max_memory)
        if generator.tileable:
            return tiling
        if tiling != Tiling():
            raise UsageError("--tile, --overlap, --max-memory: this network takes whole pictures only; leave them out")
        return None


@dataclass(frozen=True)
class EngineOptions:
    """What engines differ in; each takes what it knows."""

    translator: Translator | None = None  # one that is loaded already, for an engine that computes in this process
    address: str | None = None  # of a cluster
    note: Callable[[str], None] = lambda text: None  # see `Listener.note`; an engine may leave notes untold


Engine = Callable[[TranslationSettings, Sequence[Job], OnResult, EngineOptions], None]


def translate_jobs(work: TranslationSettings, jobs: Sequence[Job], settle: OnResult, options: EngineOptions) -> None:
    """Translate `jobs` on one device of this machine, the engine `local`.

    `settle(job, failure)` is called once for each, without a failure if its file is in its place. What it raises ends
    the work; files that are being written are finished first.
    """
    translator = options.translator or work.translator()
    if work.ends.temporary is not None:
        os.makedirs(work.ends.temporary, exist_ok=True)
    sizes = BatchSizes(translator, work.batch_size, len(jobs))
    single = Single(translator, work.ends, work.tiling(translator.generator))
    TranslationPipeline(translator, sizes, work.ends, single, Listener(settle, options.note)).run(jobs)
