"""One optimisation step and the state that it changes."""
