"""Devices, files, memory, random numbers and signals: what every room may ask of the machine."""
