"""Reading and writing of picture files; the only package that knows their formats.

Everywhere else a picture is a `Picture`: stored values, height × width × channels, upright.
"""

from cyclegan.images.bands import BandWriter, open_writer
from cyclegan.images.channels import hiding, with_channels
from cyclegan.images.folders import is_image, list_images, walk
from cyclegan.images.formats import DEFAULT_MAX_PIXELS, EXTENSIONS, FORMATS, MissingExtra, UnreadableImage, escaped
from cyclegan.images.picture import Header, ImageMetadata, Picture
from cyclegan.images.ranges import Full, Range, RangeRule, full_range, parse_range
from cyclegan.images.reading import decode_picture, read_header, read_picture
from cyclegan.images.regions import ArrayRegions, Regions, open_regions
from cyclegan.images.rgb import read_image, rgb_array, stored_size
from cyclegan.images.writing import encode_image, encode_picture, write_image, write_picture

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "EXTENSIONS",
    "FORMATS",
    "ArrayRegions",
    "BandWriter",
    "Full",
    "Header",
    "ImageMetadata",
    "MissingExtra",
    "Picture",
    "Range",
    "RangeRule",
    "Regions",
    "UnreadableImage",
    "decode_picture",
    "encode_image",
    "encode_picture",
    "escaped",
    "full_range",
    "hiding",
    "is_image",
    "list_images",
    "open_regions",
    "open_writer",
    "parse_range",
    "read_header",
    "read_image",
    "read_picture",
    "rgb_array",
    "stored_size",
    "walk",
    "with_channels",
    "write_image",
    "write_picture",
]
