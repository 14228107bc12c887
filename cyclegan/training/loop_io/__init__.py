"""Input to the loop and its figures, grids and progress."""
