"""A run under random faults, and a long one: `python -m tests.soak --help`."""
