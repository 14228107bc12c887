"""`benchmark.py data`: how fast pictures come out of the pipeline, and what share of a quick step waits for them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch

from benchmarks import machine, options, pictures, textbook, timing
from benchmarks.players import BASELINE
from cyclegan.config import TrainConfig
from cyclegan.data.dataset import build_loader
from cyclegan.data.sets import find_sets, steps_per_epoch
from cyclegan.errors import lookup
from cyclegan.system.devices import pick_device
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.loop_io.health import UnreadableImages

EPOCHS = ("first epoch", "second epoch")
CACHES = ("off", "ram", "disk", "auto")
PAPER = (286, 256)  # load and crop size, whose proportion every --size keeps


@dataclass(frozen=True)
class Work:
    """The pictures, and what is done to them."""

    a: Path
    b: Path
    load_size: int
    crop_size: int
    batch_size: int
    workers: int
    device: torch.device
    step_s: float  # of the step that does nothing

    def config(self, cache: str) -> TrainConfig:
        """That of a training run on them which holds nothing out."""
        return TrainConfig(
            a=str(self.a),
            b=str(self.b),
            load_size=self.load_size,
            crop_size=self.crop_size,
            batch_size=self.batch_size,
            workers=self.workers,
            cache=cache,  # type: ignore[arg-type]
            holdout=0.0,
            steps=1,
        )


@dataclass(frozen=True)
class Passes:
    """What passes over the pictures took: seconds of each epoch, and the share of a third that waited."""

    epochs: tuple[float, float]
    waiting: float


def textbook_passes(work: Work) -> Passes:
    """By the textbook, whose workers start anew with each epoch."""
    loader = textbook.build_loader(
        work.a,
        work.b,
        load_size=work.load_size,
        crop_size=work.crop_size,
        batch_size=work.batch_size,
        workers=work.workers,
    )

    def epoch() -> None:
        for batch in loader:
            for pictures_of_domain in batch.values():
                pictures_of_domain.to(work.device)

    taken = (timing.clock(epoch, work.device), timing.clock(epoch, work.device))
    waited, began, source = 0.0, time.perf_counter(), iter(loader)
    for _ in range(len(loader)):
        before = time.perf_counter()
        next(source)
        waited += time.perf_counter() - before
        time.sleep(work.step_s)
    return Passes(taken, waited / (time.perf_counter() - began))


def our_passes(work: Work, cache: str) -> Passes:
    """By ours; what --cache disk keeps is in a folder of its own, empty at first."""
    with tempfile.TemporaryDirectory() as kept, _cache_folder(kept):
        return _passes_of_a_run(work, work.config(cache))  # whose workers are gone when the folder goes


def _passes_of_a_run(work: Work, config: TrainConfig) -> Passes:
    """One loader for all, as the training loop has it."""
    domains = find_sets(config, ("a", "b"), "unpaired")
    steps = steps_per_epoch(domains, work.batch_size)
    began = time.perf_counter()
    # One epoch more than is used: the workers are as far ahead at the end of an epoch as at its start
    loader = build_loader(config, domains, start=0, stop=4 * steps, pin=work.device.type == "cuda")
    batches = DeviceLoader(loader, work.device, 1, UnreadableImages(len(domains.train["a"]), config.crop_size))
    to_start = time.perf_counter() - began

    def epoch() -> None:
        for _ in range(steps):
            next(batches)

    first = to_start + timing.clock(epoch, work.device)
    second = timing.clock(epoch, work.device)
    batches.waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        next(batches)
        time.sleep(work.step_s)
    return Passes((first, second), batches.waited / (time.perf_counter() - began))


@contextmanager
def _cache_folder(path: str) -> Iterator[None]:
    before = os.environ.get("CYCLEGAN_CACHE")
    os.environ["CYCLEGAN_CACHE"] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ["CYCLEGAN_CACHE"]
        else:
            os.environ["CYCLEGAN_CACHE"] = before


@click.command("data")
@click.option(
    "--size",
    type=click.IntRange(8),
    default=256,
    show_default=True,
    help="Side of the squares that are cut, in pixels.",
)
@options.batch_size("Pictures of each domain in a batch.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that read pictures.")
@click.option(
    "--pictures", "count", type=click.IntRange(1), default=200, show_default=True, help="Pictures of each domain."
)
@click.option("--step-ms", type=click.FloatRange(0), default=5.0, show_default=True, help="Length of the fake step.")
@options.source()
@click.option(
    "--variants",
    default="off,ram,disk",
    show_default=True,
    help=f"Kinds of --cache to compare with the textbook, with commas between: {', '.join(CACHES)}.",
)
@options.measuring(repeats=3)
def command(
    size: int,
    batch_size: int,
    workers: int,
    count: int,
    step_ms: float,
    source: Path | None,
    variants: str,
    repeats: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Time the data pipeline: the textbook against cyclegan, in the first epoch and in the second.

    Pictures are scaled to 286 and cut to 256, or in that proportion. `waiting` is the share of an epoch after these
    that a training whose step takes --step-ms would wait for its data.
    """
    where = pick_device(device)
    chosen = [name for name in dict.fromkeys(variants.split(",")) if name != BASELINE]
    for name in chosen:
        lookup(dict.fromkeys(CACHES), name, "--variants")
    path = timing.json_path(json_file, f"data-{size}-{batch_size}-{where.type}")
    count += -count % batch_size  # so that no batch is a part of one
    passes: dict[str, list[Passes]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = Path(temporary, "a"), Path(temporary, "b")
        if source is None:
            for folder in folders:
                pictures.draw(folder, count, size)
        else:
            pictures.link(source, folders, count)
        load_size = round(size * PAPER[0] / PAPER[1])
        work = Work(*folders, load_size, size, batch_size, workers, where, step_ms / 1000)
        runs: dict[str, Callable[[], Passes]] = {BASELINE: partial(textbook_passes, work)}
        runs |= {name: partial(our_passes, work, name) for name in chosen}
        for number in range(repeats):
            click.echo(f"  round {number + 1} of {repeats}", err=True)
            for name, run in runs.items():
                passes.setdefault(name, []).append(run())
    results = []
    for name, measured in passes.items():
        for epoch, words in enumerate(EPOCHS):
            a_picture = [[one.epochs[epoch] / (2 * count) for one in some] for some in (measured, passes[BASELINE])]
            row = timing.result(f"{name}, {words}", *a_picture)
            row["images_per_second"] = 1 / row["median_s"]
            if epoch:
                row["data_wait"] = sorted(one.waiting for one in measured)[len(measured) // 2]
            results.append(row)
    timing.publish(
        {
            "benchmark": "data",
            "title": f"The data pipeline: {load_size} cut to {size}², {workers} workers, batch {batch_size}",
            "headline": [f"{name}, {EPOCHS[1]}" for name in chosen],
            "unit": "picture",
            "notes": [
                f"{count} pictures in each domain; waiting is that at steps of {step_ms:g} ms, in an epoch after these"
            ],
            "machine": machine.describe(where),
            "command": machine.command(),
            "results": results,
        },
        path,
    )
