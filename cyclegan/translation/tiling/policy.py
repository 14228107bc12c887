"""Which pictures go through in tiles, and how large these are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from cyclegan.errors import UsageError
from cyclegan.images import Header
from cyclegan.system.memory import available_memory
from cyclegan.translation.tiling.memory import network_bytes
from cyclegan.translation.tiling.painter import fitting
from cyclegan.translation.tiling.statistics import PIECE, PIECES
from cyclegan.translation.translator import Translator

# Of the tiles that are tried where none is given, the largest that fits is taken: the larger, the less is computed
# twice in overlaps.
SIZES = (1024, 768, 512, 384, 256, 128)
ROW_BYTES = 2**29  # that a row of tiles takes at most where smaller tiles would do: a megapixel gains little from more
OVERLAP = 64  # pixels, where nothing else is said
SHARE = 2  # of the memory that is free, a picture may take one part
WHOLE_BYTES, BAND_BYTES = 32, 12  # for each number of a picture, on its way to the network and back; of a row of tiles


@dataclass(frozen=True)
class Tiling:
    """`tile` is a size in pixels, "auto" or None, never; `overlap` the pixels that neighbours share, None chooses.

    `max_memory` is how many bytes a picture may take; None: half of what is free on the device that computes. Raises
    `UsageError` for what cannot be meant.
    """

    tile: int | Literal["auto"] | None = "auto"
    overlap: int | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tile, int) and self.tile < 1:
            raise UsageError(f"--tile {self.tile}: a tile has at least one pixel; give a size, auto or off")
        if self.overlap is not None and self.overlap < 0:
            raise UsageError(f"--overlap {self.overlap}: neighbours share no fewer than 0 pixels")
        if isinstance(self.tile, int) and self.overlap is not None and 2 * self.overlap > self.tile:
            raise UsageError(f"--overlap {self.overlap}: at most half of --tile {self.tile}, give {self.tile // 2}")
        if self.max_memory is not None and self.max_memory < 1:
            raise UsageError("--max-memory: nothing fits in no memory; give a size such as 4G")

    def tile_for(self, translator: Translator, header: Header) -> int | None:
        """The side of the tiles of a picture; None if it is to go through as a whole."""
        if self.tile is None:
            return None
        size = max(header.height, header.width)
        if isinstance(self.tile, int):
            tile = fitting(translator, self.tile)
            return tile if size > tile else None
        room = _free(translator.device) / SHARE if self.max_memory is None else self.max_memory
        if whole_bytes(translator, header) <= room:
            return None
        sizes = [fitting(translator, tile) for tile in SIZES]
        fits = (
            tile
            for tile in sizes
            if tile_bytes(translator, header, tile) <= room and row_bytes(translator, header, tile) <= ROW_BYTES
        )
        chosen = next(fits, sizes[-1])
        return chosen if size > chosen else None


def whole_bytes(translator: Translator, header: Header) -> int:
    """What a picture takes at its peak if it goes through as a whole."""
    numbers = header.height * header.width * max(header.channels, translator.in_channels)
    stored = numbers * header.dtype.itemsize
    return 2 * stored + max(network_bytes(translator, header.height, header.width), numbers * WHOLE_BYTES)


def tile_bytes(translator: Translator, header: Header, tile: int) -> int:
    """What it takes in tiles: the network for one, or for the pieces of the statistics, and a row of tiles."""
    height, width = min(tile, header.height), min(tile, header.width)
    sample = math.isqrt(PIECES * PIECE**2)  # the side of a square of as many pixels
    network = max(network_bytes(translator, *sides) for sides in ((height, width), (sample, sample)))
    return network + row_bytes(translator, header, tile)


def row_bytes(translator: Translator, header: Header, tile: int) -> int:
    """What a row of tiles takes as stored numbers and as answers of the network."""
    numbers = min(tile, header.height) * header.width * max(header.channels, translator.in_channels)
    return numbers * (2 * header.dtype.itemsize + BAND_BYTES)


def _free(device: torch.device) -> int:
    """Bytes that can be had where the network computes."""
    if device.type != "cuda":
        return available_memory()
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached
