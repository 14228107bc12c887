"""A picture that no memory should hold: written, translated and measured in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Memory
from benchmarks.seats import Seat
from cyclegan.images import ImageMetadata, open_regions, open_writer, read_header
from cyclegan.system.devices import prepare
from cyclegan.translation import Translator
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.tiling.translate import translate_regions

SIDE = 20_000
BUDGET = 2**30  # bytes: --max-memory of the run
NO_LIMIT = 10**10  # pixels


def through(model: Path, folder: Path, rows: int, device: str) -> dict[str, Any]:
    """Figures of a tiled TIFF of `SIDE` × `rows` that goes through `model`, both files in `folder`."""
    source = folder / "huge.tif"
    draw(source, rows)
    with Seat(Streamed, model, device) as seat:
        figures: dict[str, Any] = seat.call("translate", source, folder / "made.tif")
    return figures


def draw(path: Path, rows: int) -> None:
    """Slow waves and noise, 8-bit RGB in tiles: something different everywhere."""
    details = ImageMetadata("TIFF", "RGB", container={"tile": (512, 512), "compression": 8})
    generator = np.random.default_rng(0)
    across = np.sin(np.arange(SIDE) / 300)[None, :, None] * 60
    with open_writer(path, ".tif", rows, SIDE, 3, np.dtype(np.uint8), False, details) as writer:
        for top in range(0, rows, 256):
            down = np.arange(top, min(top + 256, rows))[:, None, None]
            waves = 128 + across * np.cos(down / np.array([170, 230, 410]))
            grain = generator.integers(-20, 20, (len(down), SIDE, 3), np.int8)
            writer.write((waves + grain).clip(0, 255).astype(np.uint8), None)


class Streamed:
    """A translator and the memory of its process."""

    def __init__(self, model: Path, device: str) -> None:
        self.translator = Translator.load(model, "ab", device, "auto")
        prepare(self.translator.device, exact=False)
        self.memory = Memory(self.translator.device)

    def translate(self, source: Path, target: Path) -> dict[str, Any]:
        """From file to file in bands; GiB that the whole process held at most, and seconds."""
        tile = Tiling(max_memory=BUDGET).tile_for(self.translator, read_header(source, max_pixels=NO_LIMIT))
        assert tile is not None
        self.memory.forget()
        began = time.perf_counter()
        with open_regions(source, max_pixels=NO_LIMIT) as regions:
            header = regions.header
            size = (header.height, header.width, 3, header.dtype, False)
            with open_writer(target, ".tif", *size, regions.details) as writer:
                translate_regions(self.translator, regions, writer.write, tile=tile)
        assert read_header(target, max_pixels=NO_LIMIT).height == header.height
        peak = self.memory.peak() + self.memory.before
        return {
            "seconds": time.perf_counter() - began,
            "peak_memory_gib": peak,
            "imports_gib": self.memory.before,
            "tile": tile,
        }
