"""Benchmarks: the commands of `scripts/benchmark.py`, the textbook baseline, and the recipes compared."""
