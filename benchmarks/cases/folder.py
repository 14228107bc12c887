"""`benchmark.py folder`: what a picture costs in a small folder and in a large one, by each engine, and the memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
import numpy as np
import torch

from benchmarks import machine, timing
from benchmarks.family import peaks
from benchmarks.players import SEED
from benchmarks.seats import Seat
from cyclegan.errors import UsageError, lookup
from cyclegan.images import Picture, encode_picture
from cyclegan.models import save_model
from cyclegan.networks import build_generator
from cyclegan.system.devices import is_exact, pick_device, prepare
from cyclegan.translation import translate_folder
from cyclegan.translation.folder import ENGINES
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings

PRECISION = "fp32"
DISTINCT = 64  # pictures, over and over: what is in them costs nothing to vary and much to draw
IN_A_FOLDER = 1000
WARM = 0.1  # of the pictures, after which the rate is measured: by then every process has its model


class Run:
    """One process that translates a folder, as `cyclegan translate` does."""

    def __init__(self, model: Path, device: str) -> None:
        self.settings = TranslationSettings(PictureIO(), str(model), device=device, precision=PRECISION, tile=None)
        self.translator = self.settings.translator()
        prepare(self.translator.device, exact=is_exact(PRECISION))

    def folder(self, source: Path, dest: Path, engine: str) -> dict[str, float]:
        """Seconds from the start to the first picture, to a tenth of them, to the last, and to the end."""
        marks: dict[str, float] = {}
        before = time.perf_counter()

        def on_progress(done: int, total: int) -> None:
            reached = {"first": done >= 1, "warm": done >= WARM * total, "last": done == total}
            for name, there in reached.items():
                if there and name not in marks:
                    marks[name] = time.perf_counter() - before

        summary = translate_folder(
            self.translator, source, dest, settings=self.settings, engine=engine, on_progress=on_progress
        )
        assert not summary.failed, summary.failed[:3]
        assert summary.translated, "nothing was there to translate"
        return marks | {"end": time.perf_counter() - before}


def fill(folder: Path, count: int, size: int) -> None:
    """`count` pictures of noise of `size`² pixels, in folders of a thousand."""
    rng = np.random.default_rng(SEED)
    noise = rng.integers(0, 256, (DISTINCT, size, size, 3), dtype=np.uint8)
    files = [encode_picture(Picture(pixels), ".png") for pixels in noise]
    for number in range(count):
        path = folder / f"{number // IN_A_FOLDER:04d}" / f"{number:07d}.png"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(files[number % DISTINCT])


def measure(model: Path, source: Path, engine: str, device: str) -> dict[str, Any]:
    """One run in a fresh process: its times, and the most memory that it and each process below it held."""
    highest: dict[int, int] = {}
    over = Event()
    with tempfile.TemporaryDirectory() as dest, Seat(Run, model, device) as seat:
        number = seat.process.pid
        assert number is not None

        def watch() -> None:
            while not over.wait(0.5):
                for process, peak in peaks(number).items():
                    highest[process] = max(peak, highest.get(process, 0))

        watcher = Thread(target=watch)
        watcher.start()
        try:
            times: dict[str, float] = seat.call("folder", source, Path(dest) / "out", engine)
        finally:
            over.set()
            watcher.join()
    others = [peak for process, peak in highest.items() if process != number]
    return {
        "times": times,
        "peak_memory_gib": highest.get(number, 0) / 2**30,
        "largest_other_gib": max(others, default=0) / 2**30,
        "processes": len(highest),
    }


def row(name: str, count: int, measured: dict[str, Any], baseline: float | None) -> tuple[timing.Result, float]:
    """A row of the record, and the seconds a picture in it: those after the first tenth, when all is under way."""
    times = measured["times"]
    each = (times["last"] - times["warm"]) / (count * (1 - WARM))
    about = {key: value for key, value in measured.items() if key != "times"}
    about |= {f"{mark}_s": taken for mark, taken in times.items()}
    rate = {"images_per_second": 1 / each, "files": count}
    return timing.result(name, [each], [baseline or each], **rate, **about), each


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    try:
        numbers = [int(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 10:
        raise click.BadParameter(f"{value!r} is no list of numbers from 10, such as 1000,10000.")
    return numbers


@click.command("folder")
@click.option(
    "--files",
    default="1000,10000,100000",
    show_default=True,
    callback=_numbers,
    help="Pictures in the folders, with commas between.",
)
@click.option("--engines", default="local,ray", show_default=True, help=f"With commas between: {', '.join(ENGINES)}.")
@click.option("--size", type=click.IntRange(1), default=16, show_default=True, help="Side of the tiny pictures.")
@click.option(
    "--costly",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    help="Pictures in one more folder, of 64² and through a wider network, which show the overhead; 0 for none.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the record is written, if not to benchmarks/results/.",
)
def command(files: list[int], engines: str, size: int, costly: int, device: str, json_file: Path | None) -> None:
    """Time folders of 1 k, 10 k and 100 k tiny pictures with each engine: the cost of a picture should stay the same.

    So should the memory: of the process that was started, and of the largest of those that it started.
    """
    where = pick_device(device)
    chosen = list(dict.fromkeys(engines.split(",")))
    for name in chosen:
        lookup(ENGINES, name, "--engines")
    if 0 < costly < 10:
        raise UsageError("--costly: takes 10 pictures at least, or 0 for no such folder")
    path = timing.json_path(json_file, "folder")
    folders = [(f"{count} files", count, size, 1) for count in files]
    folders += [(f"{costly} costly files", costly, 64, 8)] if costly else []
    results = []
    for label, count, side, channels in folders:
        baseline = None
        with tempfile.TemporaryDirectory() as temporary:
            source, model = Path(temporary, "pictures"), Path(temporary, "model.safetensors")
            torch.manual_seed(SEED)
            save_model(model, {"ab": build_generator("resnet_6blocks", channels=channels)}, info={})
            fill(source, count, side)
            for engine in chosen:
                click.echo(f"  {label}, {engine}", err=True)
                made, each = row(f"{engine}, {label}", count, measure(model, source, engine, str(where)), baseline)
                baseline = baseline or each
                results.append(made)
    timing.publish(
        {
            "benchmark": "folder",
            "title": f"Folders of pictures of {size}² by each engine",
            "headline": [],
            "unit": "picture",
            "notes": [
                "Seconds a picture after the first tenth of them; first_s, last_s and end_s count from the start",
                f"times as fast: as {chosen[0]} with the same folder",
                "peak GiB: of the process that was started; largest_other_gib: of the largest of those it started",
            ],
            "machine": machine.describe(where),
            "command": machine.command(),
            "results": results,
        },
        path,
    )
