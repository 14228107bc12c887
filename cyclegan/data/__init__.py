"""Batches of training pictures from folders, paired or not, the same for any number of processes.

Everything random about a sample follows from the seed and the number of the sample, so neither workers, nor ranks, nor
an interruption change the training pictures. Nothing is imported here: checking folders and drawing the demo need
neither torch nor albumentations, which together take four seconds to import.
"""
