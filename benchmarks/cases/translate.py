"""`benchmark.py translate`: a folder of pictures from files to files, and the network alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine, options, pictures, textbook, timing
from benchmarks.players import BASELINE, SEED
from benchmarks.seats import Seat
from cyclegan.errors import UsageError, lookup
from cyclegan.images import list_images, read_image
from cyclegan.models import load_model, save_model
from cyclegan.networks import build_generator, pick_precision
from cyclegan.system.devices import DTYPES, is_exact, pick_device, prepare
from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.batching import BatchSizes

# Name -> --precision; everything else is left to translate_folder
VARIANTS = {"default": "auto", "fp32": "fp32"}
EQUAL_DB = 100.0  # what is reported for pictures without any difference, which JSON has no infinity for
NETWORK = " network"


class TextbookFolder:
    """The baseline: one picture at a time, Pillow at both ends, PNG as Pillow writes it."""

    precision = "fp32"

    def __init__(self, model: Path, device: str) -> None:
        ours = load_model(model, ["ab"]).generators["ab"]
        self.device = pick_device(device)
        self.generator = textbook.build_generator(ours.spec["channels"], textbook.BLOCKS[ours.spec["name"]])
        textbook.load_weights(self.generator, ours)
        self.generator.to(self.device).eval()

    def folder(self, source: Path, dest: Path) -> None:
        """All pictures of `source` into `dest`."""
        textbook.translate_folder(self.generator, source, dest, self.device)

    def network(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """Decoded pictures (uint8 HWC) to their translations."""
        made = (textbook.translate_picture(self.generator, Image.fromarray(one), self.device) for one in given)
        return [np.array(one) for one in made]


class OurFolder:
    """What `cyclegan translate` does."""

    def __init__(self, model: Path, device: str, precision: str, batch_size: int | None) -> None:
        self.translator = Translator.load(model, "ab", device, precision)
        prepare(self.translator.device, exact=is_exact(precision))
        self.precision = next(name for name, dtype in DTYPES.items() if dtype == self.translator.dtype)
        self.batch_size = batch_size

    def folder(self, source: Path, dest: Path) -> None:
        """All pictures of `source` into `dest`."""
        summary = translate_folder(self.translator, source, dest, batch_size=self.batch_size)
        assert not summary.failed, summary.failed

    def network(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """Decoded pictures of one size to their translations, in the batches that a folder of them would go in."""
        size = BatchSizes(self.translator, self.batch_size, len(given))[given[0].shape[:2]]
        return [
            made for first in range(0, len(given), size) for made in self.translator.batch(given[first : first + size])
        ]


class Measured:
    """One of the two with a clock beside it."""

    def __init__(self, name: str, model: Path, source: Path, device: str, batch_size: int | None) -> None:
        self.device = pick_device(device)
        self.source = source
        self.given = [read_image(source / picture) for picture in list_images(source)]
        if name == BASELINE:
            self.worker: TextbookFolder | OurFolder = TextbookFolder(model, device)
        else:
            self.worker = OurFolder(model, device, VARIANTS[name], batch_size)

    def folder(self) -> float:
        """Seconds a picture, from files to files."""
        with tempfile.TemporaryDirectory() as dest:
            taken = timing.clock(partial(self.worker.folder, self.source, Path(dest)), self.device)
            written = len(list_images(dest))
        assert written == len(self.given), (written, len(self.given))
        return taken / len(self.given)

    def network(self) -> float:
        """Seconds a picture, from array to array."""
        return timing.clock(partial(self.worker.network, self.given), self.device) / len(self.given)

    def made(self) -> tuple[str, list[np.ndarray]]:
        """The precision, and the translations as they are before they are written."""
        return self.worker.precision, self.worker.network(self.given)


def psnr(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Peak signal-to-noise ratio over all pixels of pairs of uint8 pictures, in dB; 100 if they are equal."""
    error = np.mean([np.square(one.astype(np.float64) - other).mean() for one, other in pairs])
    return float(min(10 * np.log10(255**2 / error), EQUAL_DB)) if error else EQUAL_DB


def forward_flops(channels: int, generator: str, size: int) -> int:
    """Floating-point operations of one picture of `size`² through the textbook's generator, by shapes alone."""
    network = textbook.build_generator(channels, lookup(textbook.BLOCKS, generator, "--generator")).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, size, size, device="meta"))
    return int(counter.get_total_flops())


@click.command("translate")
@options.network(size=256)
@options.batch_size(
    "Pictures computed at a time by cyclegan; chosen by it if not given.", default=None, show_default=False
)
@click.option(
    "--pictures", "count", type=click.IntRange(1), default=20, show_default=True, help="Pictures in the folder."
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["jpg", "png"]),
    default="jpg",
    show_default=True,
    help="Of the pictures, and so of what cyclegan writes; the textbook always writes PNG.",
)
@options.source()
@click.option("--model", type=click.Path(path_type=Path), help="Translate A to B with this instead of random weights.")
@click.option(
    "--variants",
    default="fp32,default",
    show_default=True,
    help=f"What is compared with the textbook, with commas between: {', '.join(VARIANTS)}.",
)
@options.measuring(repeats=5)
def command(
    size: int,
    channels: int,
    generator: str,
    batch_size: int | None,
    count: int,
    suffix: str,
    source: Path | None,
    model: Path | None,
    variants: str,
    repeats: int,
    device: str,
    json_file: Path | None,
) -> None:
    """Time the translation of a folder: the textbook, picture by picture, against cyclegan.

    Rows named `network` are the network alone, from decoded pictures to pictures not yet encoded. PSNR is between the
    translations and those of the textbook, which is fp32, before they are written.
    """
    where = pick_device(device)
    chosen = [name for name in dict.fromkeys(variants.split(",")) if name != BASELINE]
    for name in chosen:
        lookup(VARIANTS, name, "--variants")
        pick_precision(VARIANTS[name], where)
    path = timing.json_path(json_file, f"translate-{size}-{batch_size or 'auto'}-{where.type}")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder, file = Path(temporary, "pictures"), Path(temporary, "model.safetensors")
        if model is None:
            lookup(textbook.BLOCKS, generator, "--generator")
            torch.manual_seed(SEED)
            save_model(file, {"ab": build_generator(generator, channels=channels)}, info={})
        else:
            channels, generator = _textbooks(model)
        if source is None:
            pictures.draw(folder, count, size, f".{suffix}")
        else:
            pictures.take(source, folder, count, size, f".{suffix}")
        ceilings = machine.ceilings(where, channels=channels, size=size, batch_size=batch_size or 1)
        turns: dict[str, Callable[[], float]] = {}
        seats: dict[str, Seat] = {}
        for name in (BASELINE, *chosen):
            arguments = (name, (model or file).absolute(), folder, str(where), batch_size)
            seats[name] = stack.enter_context(Seat(Measured, *arguments))
        for name, seat in seats.items():
            click.echo(f"  warming up {name}", err=True)
            for what in ("folder", "network"):
                seat.call(what)
            turns |= {name: partial(seat.call, "folder"), name + NETWORK: partial(seat.call, "network")}
        measured = timing.alternate(turns, repeats)
        made = {name: seat.call("made") for name, seat in seats.items()}
    flops = forward_flops(channels, generator, size)
    results = []
    for name, taken in measured.items():
        who = name.removesuffix(NETWORK)
        precision, translations = made[who]
        row = timing.result(name, taken, measured[BASELINE + name.removeprefix(who)], precision=precision)
        row |= {
            "share_of_floor": machine.share_of_floor(flops, row["median_s"], precision, ceilings),
            "images_per_second": 1 / row["median_s"],
            "psnr_to_baseline_db": (
                None if who == BASELINE else psnr(list(zip(translations, made[BASELINE][1], strict=True)))
            ),
            "flops": flops,
        }
        results.append(row)
    timing.publish(
        {
            "benchmark": "translate",
            "title": f"Translating a folder of {count} pictures of {size}², {generator} × {channels}",
            "headline": [name for name in ("default", "default" + NETWORK) if name in measured],
            "unit": "picture",
            "notes": [
                f"From {suffix.upper()} files to files: PNG by the textbook, {suffix.upper()} by cyclegan",
                f"A picture is {flops / 1e9:.4g} GFLOP by the textbook; {machine.FLOOR}",
            ],
            "machine": machine.describe(where),
            "ceilings": ceilings,
            "command": machine.command(),
            "results": results,
        },
        path,
    )


def _textbooks(model: Path) -> tuple[int, str]:
    """Width and name of the generator of `model`; `UsageError` for one that the textbook does not have."""
    spec: dict[str, Any] = load_model(model, ["ab"]).generators["ab"].spec
    wanted = {
        "in_channels": 3,
        "out_channels": 3,
        "norm": "instance",
        "upsampling": "transposed",
        "spectral_norm": False,
    }
    other = [f"{key} {spec[key]}" for key, value in wanted.items() if spec[key] != value]
    if spec["name"] not in textbook.BLOCKS or other:
        raise UsageError(
            f"--model: the textbook has no {', '.join([spec['name'], *other])}; give a model of the paper's generator"
        )
    return spec["channels"], spec["name"]
