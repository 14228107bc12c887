"""Evaluation of translations: metrics, protocols, galleries."""
