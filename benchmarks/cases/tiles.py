"""`benchmark.py tiles`: large pictures in tiles against the same as a whole: agreement, seams, time, memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from benchmarks import machine, options, timing
from benchmarks.cases.huge import SIDE, through
from benchmarks.cases.translate import psnr
from benchmarks.memory import Memory
from benchmarks.seats import Seat
from cyclegan.images import ArrayRegions, Picture, list_images, read_image
from cyclegan.models import save_model
from cyclegan.networks import build_generator
from cyclegan.networks.shared_statistics import NormWindow
from cyclegan.system.devices import is_exact, pick_device, prepare
from cyclegan.translation import Translator
from cyclegan.translation.tiling import statistics
from cyclegan.translation.tiling.painter import Show, TiledGenerator, as_batch
from cyclegan.translation.tiling.policy import OVERLAP, network_bytes
from cyclegan.translation.tiling.translate import translate_regions

ENLARGED, MOSAIC = 4, 4  # times, bicubic; photographs along each side
THUMBNAIL = 512  # pixels, at most
MEMORY_SIDES = (512, 1024)


def large_pictures(data: Path, count: int) -> dict[str, np.ndarray]:
    """`count` photographs of a folder enlarged, and as many mosaics of different ones; uint8 HWC, by name."""
    names = list_images(data)
    made = {}
    for number in range(count):
        name = names[number * len(names) // count]
        photograph = Image.fromarray(read_image(data / name))
        size = photograph.width * ENLARGED, photograph.height * ENLARGED
        made[f"enlarged {number + 1}"] = np.asarray(photograph.resize(size, Image.Resampling.BICUBIC))
        chosen = [names[(number * MOSAIC**2 + place) % len(names)] for place in range(MOSAIC**2)]
        parts = [np.asarray(Image.fromarray(read_image(data / one)).resize((256, 256))) for one in chosen]
        rows = [np.concatenate(parts[row * MOSAIC : (row + 1) * MOSAIC], 1) for row in range(MOSAIC)]
        made[f"mosaic {number + 1}"] = np.concatenate(rows)
    return made


def in_tiles(translator: Translator, pixels: np.ndarray, tile: int) -> np.ndarray:
    """What `cyclegan translate --tile` makes of it."""
    bands: list[np.ndarray] = []
    translate_regions(translator, ArrayRegions(Picture(pixels)), lambda band, alpha: bands.append(band), tile=tile)
    return np.concatenate(bands)


def naively(translator: Translator, pixels: np.ndarray, tile: int) -> np.ndarray:
    """Tiles of which each has its own statistics, in the same places and blended in the same way."""
    tiled = TiledGenerator(translator, tile=tile, overlap=OVERLAP)
    tiled.shared.network = translator.generator
    return _painted(tiled, pixels)


def by_thumbnail(translator: Translator, pixels: np.ndarray, tile: int) -> np.ndarray:
    """With the statistics of the picture scaled down."""
    tiled = TiledGenerator(translator, tile=tile, overlap=OVERLAP)
    share = THUMBNAIL / max(pixels.shape)
    size = max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    batch = as_batch(_unit(small))
    height, width = batch.shape[2:]
    with tiled.shared.pooling((height, width), [NormWindow(0, 0, height, width)]):
        tiled.attempt(batch)
    return _painted(tiled, pixels)


def corrected(times: int, translator: Translator, pixels: np.ndarray, tile: int) -> np.ndarray:
    """With those of the sample, corrected so many times."""
    tiled = TiledGenerator(translator, tile=tile, overlap=OVERLAP)
    show, size = _show(pixels), pixels.shape[:2]
    drawn = statistics.sample_of(tiled, show, *size)
    statistics.pool(tiled, *drawn)
    for _ in range(times):
        statistics.collect(tiled, show, *size)
        tiled.shared.correct()
        statistics.pool(tiled, *drawn)
    return _painted(tiled, pixels)


def _painted(tiled: TiledGenerator, pixels: np.ndarray) -> np.ndarray:
    made = tiled.run(_show(pixels), *pixels.shape[:2])
    return np.rint((np.clip(made, -1, 1) + 1) * 127.5).astype(np.uint8)


def _show(pixels: np.ndarray) -> Show:
    return lambda top, left, height, width: _unit(pixels[top : top + height, left : left + width])


def _unit(pixels: np.ndarray) -> np.ndarray:
    return (pixels / np.float32(127.5) - 1).astype(np.float32)


def seam(translator: Translator, made: np.ndarray, whole: np.ndarray, tile: int) -> float:
    """How much steeper `made` is where one tile passes into the next than `whole` is there: 1 is no seam at all."""
    tiled = TiledGenerator(translator, tile=tile, overlap=OVERLAP)
    steps: dict[str, list[float]] = {"made": [], "whole": []}
    for axis, places in enumerate(tiled.axes(*made.shape[:2])):
        for number in range(1, len(places.starts)):
            at = places.span(number)[0], places.span(number - 1)[1]  # from where both count to where one does
            for name, picture in (("made", made), ("whole", whole)):
                part = np.take(picture, np.arange(at[0], at[1] + 1), axis).astype(float)
                steps[name].append(float(np.abs(np.diff(part, axis=axis)).mean()))
    return float(np.mean(steps["made"]) / np.mean(steps["whole"])) if steps["made"] else 1.0


class Alone:
    """A network in a process of its own, whose memory is measured."""

    def __init__(self, model: Path, device: str, precision: str) -> None:
        self.translator = Translator.load(model, "ab", device, precision)
        prepare(self.translator.device, exact=is_exact(precision))

    def memory(self, side: int) -> tuple[float, float]:
        """MiB that a picture of side² was expected to take, and took."""
        expected = network_bytes(self.translator, side, side)
        memory = Memory(self.translator.device)
        memory.forget()
        self.translator.unit(torch.zeros(1, self.translator.in_channels, side, side, device=self.translator.device))
        return expected / 2**20, memory.peak() * 2**10


@click.command("tiles")
@click.option("--model", type=click.Path(path_type=Path), help="A model or run, A to B. Not needed with --huge.")
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A folder of photographs of A."
)
@click.option("--tiles", "sizes", default="256,512,768", show_default=True, help="Sizes, with commas between.")
@click.option(
    "--pictures", "count", type=click.IntRange(1), default=2, show_default=True, help="Enlarged, and mosaics."
)
@click.option("--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option("--huge", is_flag=True, help=f"Instead: a TIFF of {SIDE}×{SIDE} through a small network, and its memory.")
@click.option("--rows", type=click.IntRange(1), default=SIDE, show_default=True, help="Of the huge picture.")
@options.measuring(repeats=1)
def command(
    model: Path | None,
    data: Path | None,
    sizes: str,
    count: int,
    precision: str,
    huge: bool,
    rows: int,
    repeats: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Translate large pictures in tiles and as a whole, and compare.

    `statistics` rows give other ways to the statistics of InstanceNorm, each with tiles of the first size; `naive` ones
    leave each tile its own. PSNR is over all pictures, to the whole.
    """
    where = pick_device(device)
    path = timing.json_path(json_file, "tiles-huge" if huge else f"tiles-{where.type}")
    about = {"machine": machine.describe(where), "command": machine.command(), "unit": "picture"}
    if huge:
        timing.publish(about | _huge(rows, where), path)
        return
    if model is None or data is None:
        raise click.UsageError("give --model and --data, or --huge")
    translator = Translator.load(model, "ab", device, precision)
    prepare(translator.device, exact=is_exact(precision))
    given = large_pictures(data, count)
    tiles = [int(size) for size in sizes.split(",")]
    ways: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
        "whole": (0, lambda pixels: translator.batch([pixels])[0])
    }
    for tile in tiles:
        ways[f"tiles {tile}"] = (tile, partial(in_tiles, translator, tile=tile))
        ways[f"naive {tile}"] = (tile, partial(naively, translator, tile=tile))
    ways["statistics thumbnail"] = (tiles[0], partial(by_thumbnail, translator, tile=tiles[0]))
    for times in range(4):
        ways[f"statistics corrected {times}"] = (tiles[0], partial(corrected, times, translator, tile=tiles[0]))
    made: dict[str, dict[str, np.ndarray]] = {name: {} for name in ways}

    def all_pictures(name: str) -> float:
        def work() -> None:
            for picture, pixels in given.items():
                made[name][picture] = ways[name][1](pixels)

        return timing.clock(work, where) / len(given)

    measured = timing.alternate({name: partial(all_pictures, name) for name in ways}, repeats)
    results = []
    for name, taken in measured.items():
        pairs = {picture: (made[name][picture], made["whole"][picture]) for picture in given}
        row = timing.result(name, taken, measured["whole"])
        row |= {
            "images_per_second": 1 / row["median_s"],
            "psnr_to_baseline_db": None if name == "whole" else psnr(list(pairs.values())),
            "psnr_of_each_db": {picture: psnr([pair]) for picture, pair in pairs.items()},
            "seam_to_whole": [seam(translator, *pair, ways[name][0]) for pair in pairs.values()]
            if ways[name][0]
            else None,
        }
        results.append(row)
    between = {
        f"{one} and {other}": psnr([(made[f"tiles {one}"][name], made[f"tiles {other}"][name]) for name in given])
        for one, other in pairwise(tiles)
    }
    with Seat(Alone, model.absolute(), device, precision) as seat:
        memory = {
            str(side): dict(zip(("expected_mib", "taken_mib"), seat.call("memory", side), strict=True))
            for side in MEMORY_SIDES
        }
    timing.publish(
        about
        | {
            "benchmark": "tiles",
            "title": f"{len(given)} large pictures in tiles, overlap {OVERLAP}",
            "headline": [f"tiles {tile}" for tile in tiles],
            "notes": [
                f"Photographs enlarged {ENLARGED} × and mosaics of {MOSAIC}×{MOSAIC}; PSNR is to the whole",
                "Between sizes of tiles: " + ", ".join(f"{names} {value:.1f} dB" for names, value in between.items()),
            ],
            "psnr_between_tiles_db": between,
            "memory": memory,
            "results": results,
        },
        path,
    )


def _huge(rows: int, where: torch.device) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = Path(folder) / "model.safetensors"
        save_model(model, {"ab": build_generator("resnet_6blocks", channels=8, upsampling="resize")}, info={})
        figures = through(model, Path(folder), rows, str(where))
    row = timing.result(f"{SIDE}×{rows}", [figures["seconds"]], [figures["seconds"]])
    row |= {"images_per_second": 1 / row["median_s"], "peak_memory_gib": figures["peak_memory_gib"]}
    return {
        "benchmark": "tiles-huge",
        "title": f"A tiled TIFF of {SIDE}×{rows}, 8-bit RGB, from file to file through resnet_6blocks × 8",
        "headline": [row["name"]],
        "notes": [
            f"The process held {figures['peak_memory_gib']:.2f} GiB at most, {figures['imports_gib']:.2f} of it imports"
        ],
        "tile": figures["tile"],
        "results": [row],
    }
