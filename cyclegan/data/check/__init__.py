"""Inspection of folders of pictures before training."""
