"""Optional C kernels for operators that torch computes slowly on a CPU."""

from cyclegan.networks.kernels.build import load_kernels, usable
from cyclegan.networks.kernels.outer_conv import conv_from_picture, conv_to_picture
from cyclegan.networks.kernels.residual import LANES, residual_block, shared_residual_block
from cyclegan.networks.kernels.upsample_conv import resize_conv2x, transposed_conv2x

__all__ = [
    "LANES",
    "conv_from_picture",
    "conv_to_picture",
    "load_kernels",
    "residual_block",
    "resize_conv2x",
    "shared_residual_block",
    "transposed_conv2x",
    "usable",
]
