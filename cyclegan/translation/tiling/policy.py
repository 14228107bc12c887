"""Choice of tiling and tile size for a picture, from the memory that its translation takes."""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclegan.errors import UsageError
from cyclegan.images import Header
from cyclegan.system.memory import available_memory
from cyclegan.translation.batching import free_gpu_memory
from cyclegan.translation.tiling.axis import rounded
from cyclegan.translation.tiling.painter import fitting
from cyclegan.translation.tiling.statistics import PIECE, PIECES
from cyclegan.translation.translator import Translator

# Candidates for "auto"; the largest that fits is taken: the larger a tile, the less is computed twice in overlaps.
SIZES = (1024, 768, 512, 384, 256, 128)
ROW_BYTES = 2**29  # bound on a row of tiles if smaller tiles are possible: a megapixel gains little from more
OVERLAP = 64  # pixels, by default
SHARE = 2  # a picture may take 1 / SHARE of the free memory
WHOLE_BYTES, BAND_BYTES = 32, 12  # per value of a picture, to the network and back: as a whole, in a row of tiles
# Factor for what is not a tensor between torch operators: copies in other layouts, convolution workspaces and
# allocator overhead. Measured against the memory of the process, see docs/large-pictures.md.
MARGIN = 1.6
PROBE = 128  # side of the measured picture, if the network takes so small a one


@dataclass(frozen=True)
class Tiling:
    """Tile settings: `tile` in pixels, "auto" or None (never); `overlap` in pixels, None chooses.

    `max_memory` is the number of bytes a picture may take; None: half of the free memory of the compute device. Raises
    `UsageError` for invalid values.
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
        """Tile size of a picture; None if it is translated whole."""
        if self.tile is None:
            return None
        size = max(header.height, header.width)
        if isinstance(self.tile, int):
            tile = fitting(translator, self.tile)
            return tile if size > tile else None
        room: float | None = self.max_memory
        if room is None:
            device = translator.device
            room = (free_gpu_memory(device) if device.type == "cuda" else available_memory()) / SHARE
        if whole_bytes(translator, header) <= room:
            return None
        for number in SIZES:
            tile = fitting(translator, number)
            if tile_bytes(translator, header, tile) <= room and row_bytes(translator, header, tile) <= ROW_BYTES:
                break  # else the smallest
        return tile if size > tile else None


def whole_bytes(translator: Translator, header: Header) -> int:
    """Peak memory of a picture translated whole."""
    numbers = header.height * header.width * max(header.channels, translator.in_channels)
    stored = numbers * header.dtype.itemsize
    return 2 * stored + max(network_bytes(translator, header.height, header.width), numbers * WHOLE_BYTES)


def tile_bytes(translator: Translator, header: Header, tile: int) -> int:
    """Peak memory in tiles: the network on a tile or on the statistics' pieces, and a row of tiles."""
    height, width = min(tile, header.height), min(tile, header.width)
    sample = math.isqrt(PIECES * PIECE**2)  # side of a square with as many pixels
    network = max(network_bytes(translator, *sides) for sides in ((height, width), (sample, sample)))
    return network + row_bytes(translator, header, tile)


def row_bytes(translator: Translator, header: Header, tile: int) -> int:
    """Memory of a row of tiles, as stored pixels and as network output."""
    numbers = min(tile, header.height) * header.width * max(header.channels, translator.in_channels)
    return numbers * (2 * header.dtype.itemsize + BAND_BYTES)


_known: weakref.WeakKeyDictionary[Translator, float] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def network_bytes(translator: Translator, height: int, width: int) -> int:
    """Peak memory of the network on one picture of this size, without weights."""
    generator = translator.generator
    rows, columns = (max(rounded(pixels, generator.multiple), generator.smallest) for pixels in (height, width))
    with _lock:
        if translator not in _known:
            _known[translator] = _bytes_per_pixel(translator)
    return int(_known[translator] * rows * columns)


def _bytes_per_pixel(translator: Translator) -> float:
    """Measure a copy of the network on a small picture on the CPU, without side effects.

    For a callable that is not a module only input and output are counted.
    """
    generator = translator.generator
    side = max(PROBE, generator.smallest)
    # A CPU in bf16 keeps fp32 copies as well
    dtype = torch.float32 if translator.device.type == "cpu" else translator.dtype
    if not isinstance(generator, nn.Module):
        return MARGIN * dtype.itemsize * (generator.in_channels + generator.out_channels)
    network = copy.deepcopy(generator).cpu().eval().to(dtype)
    picture = torch.zeros(1, generator.in_channels, side, side, dtype=dtype)
    with torch.inference_mode(), _Alive() as alive:
        network(picture)
    return MARGIN * (alive.most + picture.nbytes) / side**2


class _Alive(TorchFunctionMode):
    """Track the bytes of all live tensors returned by torch functions."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._tensors: dict[int, int] = {}  # tensors per storage

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._tensors:
            self._now += size
            self.most = max(self.most, self._now)
        self._tensors[key] = self._tensors.get(key, 0) + 1
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._tensors[key] -= 1
        if not self._tensors[key]:
            del self._tensors[key]
            self._now -= size
