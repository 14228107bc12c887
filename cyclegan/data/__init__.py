"""Folders of pictures to a stream of batches, paired or not, the same however many processes read it.

Everything random about a sample follows from the seed and the number of the sample, so neither workers, nor ranks, nor
an interruption change what is learnt from. Nothing is imported here: checking folders and drawing the demo need neither
torch nor albumentations, which take four seconds between them.
"""
