"""Commands of `scripts/benchmark.py`, a file each."""
