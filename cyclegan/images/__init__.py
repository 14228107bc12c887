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
    read_header,
    read_image,
    read_picture,
    rgb_array,
    stored_size,
)
from cyclegan.images.encode import encode_image, encode_picture, write_image
from cyclegan.images.folders import is_image, list_images
from cyclegan.images.picture import Details, Header, Picture
from cyclegan.images.ranges import Full, Range, RangeRule, full_range, parse_range

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "Decoded",
    "Details",
    "Full",
    "Header",
    "Picture",
    "Range",
    "RangeRule",
    "UnreadableImage",
    "decode_file",
    "decode_image",
    "encode_image",
    "encode_picture",
    "full_range",
    "is_image",
    "list_images",
    "parse_range",
    "printable",
    "read_header",
    "read_image",
    "read_picture",
    "rgb_array",
    "stored_size",
    "write_image",
]
