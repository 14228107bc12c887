#!/usr/bin/env python
"""Time cyclegan against a textbook CycleGAN, and itself: `python scripts/benchmark.py --help` lists what."""

from __future__ import annotations

from cyclegan.cli import Commands

cli = Commands(
    "benchmark.py",
    help="Time cyclegan against a textbook CycleGAN of the same mathematics, weights and data, and against what this "
    "machine can do at most. Prints a table and writes JSON into benchmarks/.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    modules={
        "train": ("benchmarking.train", "One training step: time, share of the floor, memory."),
        "translate": ("benchmarking.translate", "A folder of pictures, from files to files, and the network alone."),
        "data": ("benchmarking.data", "Pictures per second out of the data pipeline, and what a fast GPU would wait."),
        "tiles": ("benchmarking.tiles", "Large pictures in tiles: how like the whole, how fast, in how much memory."),
        "folder": ("benchmarking.folder", "Folders of 1,000 to 100,000 tiny pictures, by each engine."),
        "scale": ("benchmarking.scale", "What averaging gradients costs between processes, and a forecast."),
    },
)

if __name__ == "__main__":
    cli()
