"""Translation of a folder as a restartable job: sources, names, destinations, records."""
