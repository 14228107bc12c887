"""Kernels in C for what torch computes slowly on a processor; everything works without them."""

from cyclegan.native.build import kernels, usable
from cyclegan.native.edges import narrowing, widening
from cyclegan.native.enlarging import doubling, repeating
from cyclegan.native.residual import LANES, residual_block, shared_residual_block

__all__ = [
    "LANES",
    "doubling",
    "kernels",
    "narrowing",
    "repeating",
    "residual_block",
    "shared_residual_block",
    "usable",
    "widening",
]
