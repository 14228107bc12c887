"""Metrics of translations: each file knows one kind of figure."""
