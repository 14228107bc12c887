"""Picklable settings of a translation, and the engine that runs jobs on this machine.

An engine calls `on_result` once for each of the jobs it gets, in the thread of its caller. It neither decides what is
left to do nor keeps a record: `translate_folder`, which has the table of engines, does both.
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
from cyclegan.translation.jobs import Job, OnResult, PictureIO
from cyclegan.translation.pipeline import TranslationPipeline
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.tiling.single import Single
from cyclegan.translation.translator import Translator
from cyclegan.translation.value_scale import ValueScale


@dataclass(frozen=True)
class TranslationSettings:
    """All inputs of `translate_jobs` but the jobs; picklable, with paths valid on every machine."""

    io: PictureIO  # reading and writing
    model: str | None = None  # file or run directory; None: the translator exists only in this process
    direction: str | None = None  # None: the model's only one, or its first
    device: str = "auto"
    precision: str = "auto"
    range: str | None = None  # see `parse_range`; None: that of the model
    batch_size: int | None = None  # None: automatic
    tile: int | Literal["auto"] | None = "auto"  # None: no tiles
    overlap: int | None = None  # of tiles, in pixels; None: automatic
    max_memory: int | None = None  # bytes that an untiled picture may take; None: measured

    def translator(self) -> Translator:
        """Load the model; `UsageError` and `CycleganError` as `Translator.load` raises.

        The owner of the process also calls `cyclegan.system.devices.prepare` for its device.
        """
        assert self.model is not None, "these settings name no model to load"
        rule = None if self.range is None else parse_range(self.range, "--range")  # checked before anything is read
        translator = Translator.load(self.model, self.direction, self.device, self.precision)
        if rule is not None:
            translator.scales = ValueScale(rule)
        return translator

    def tiling(self, generator: GeneratorLike) -> Tiling:
        """Build the tiling policy for `generator`.

        Raises `UsageError` for invalid tile settings, or if the network takes whole pictures only.
        """
        tiling = Tiling(None) if self.tile is None else Tiling(self.tile, self.overlap, self.max_memory)
        if generator.tileable or self.tile is None:
            return tiling
        if tiling != Tiling():
            raise UsageError("--tile, --overlap, --max-memory: this network takes whole pictures only; leave them out")
        return Tiling(None)


@dataclass(frozen=True)
class EngineOptions:
    """Engine-specific inputs; each engine uses those it knows."""

    translator: Translator | None = None  # already loaded, for an engine that computes in this process
    address: str | None = None  # of a Ray cluster
    note: Callable[[str], None] = lambda text: None  # see `TranslationPipeline`; optional for an engine


Engine = Callable[[TranslationSettings, Sequence[Job], OnResult, EngineOptions], None]


def translate_jobs(
    settings: TranslationSettings, jobs: Sequence[Job], on_result: OnResult, options: EngineOptions
) -> None:
    """Translate `jobs` on one device of this machine, the engine `local`.

    `on_result(job, failure)` is called once for each job; failure is None if its file was written. An exception raised
    in it ends the work, after files that are being written are finished.
    """
    translator = options.translator or settings.translator()
    if settings.io.temporary is not None:
        os.makedirs(settings.io.temporary, exist_ok=True)
    sizes = BatchSizes(translator, settings.batch_size, len(jobs))
    single = Single(translator, settings.io, settings.tiling(translator.generator))
    TranslationPipeline(single, sizes, on_result, options.note).run(jobs)
