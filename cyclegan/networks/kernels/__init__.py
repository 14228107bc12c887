"""Kernels in C for what torch computes slowly on a processor; everything works without them."""

from cyclegan.networks.kernels.build import kernels, usable
from cyclegan.networks.kernels.outer_conv import narrowing, widening
from cyclegan.networks.kernels.residual import LANES, residual_block, shared_residual_block
from cyclegan.networks.kernels.upsample_conv import doubling, repeating

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
