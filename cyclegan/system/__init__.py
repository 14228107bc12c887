"""Devices, files, memory, random numbers and signals."""
