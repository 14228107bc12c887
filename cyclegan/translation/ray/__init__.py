"""Translation of folders on a Ray cluster."""
