"""Translation in tiles with normalisation statistics of the whole picture."""
