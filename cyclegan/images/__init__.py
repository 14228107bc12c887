"""Files to arrays and back: the only room that knows picture formats.

Everywhere else a picture is a `uint8` array, height × width × 3, red green blue, upright.
"""

from cyclegan.images.decode import (
    EXTENSIONS,
    FORMATS,
    Decoded,
    UnreadableImage,
    decode_file,
    decode_image,
    printable,
    read_image,
    rgb_array,
    stored_size,
)
from cyclegan.images.encode import encode_image, write_image
from cyclegan.images.folders import is_image, list_images

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "Decoded",
    "UnreadableImage",
    "decode_file",
    "decode_image",
    "encode_image",
    "is_image",
    "list_images",
    "printable",
    "read_image",
    "rgb_array",
    "stored_size",
    "write_image",
]
