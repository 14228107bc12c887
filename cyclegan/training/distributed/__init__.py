"""Collectives and processes of a training run."""
