"""Prepared pictures kept in memory or on disk."""
