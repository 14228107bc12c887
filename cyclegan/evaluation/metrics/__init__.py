"""Metrics on batches of pictures."""
