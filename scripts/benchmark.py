#!/usr/bin/env python
"""Time cyclegan against a textbook CycleGAN, and itself: `python scripts/benchmark.py --help` lists what."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import cli

if __name__ == "__main__":
    cli()
