"""Drawn plain and striped animals, the demonstration data with known translations."""
