"""What `scripts/benchmark.py` is made of: the textbook baseline, clocks, the machine's ceilings, and each command."""
