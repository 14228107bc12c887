"""Commands that time cyclegan against a textbook CycleGAN, and itself; `scripts/benchmark.py` calls them."""

from __future__ import annotations

from cyclegan.cli import Commands

# Name of a module in `benchmarks.cases` -> its line in --help
CASES = {
    "train": "One training step: time, share of the floor, memory.",
    "translate": "A folder of pictures, from files to files, and the network alone.",
    "data": "Pictures per second out of the data pipeline, and what a fast GPU would wait.",
    "tiles": "Large pictures in tiles: how like the whole, how fast, in how much memory.",
    "folder": "Folders of 1,000 to 100,000 tiny pictures, by each engine.",
    "scale": "What averaging gradients costs between processes, and a forecast.",
}

cli = Commands(
    "benchmark.py",
    help="Time cyclegan against a textbook CycleGAN of the same mathematics, weights and data, and against what this "
    "machine can do at most. Prints a table and writes JSON into benchmarks/results/.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    modules={name: (f"benchmarks.cases.{name}", summary) for name, summary in CASES.items()},
)
