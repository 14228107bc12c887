"""Run directory, checkpoints and their writing."""
