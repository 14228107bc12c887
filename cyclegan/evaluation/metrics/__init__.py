"""Metrics of translations, one kind of figure in each file."""
