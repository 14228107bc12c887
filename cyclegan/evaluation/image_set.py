"""Pictures as equal squares, so that all that is compared is scaled alike."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan.data.sets import FileList, in_hash_order
from cyclegan.errors import CycleganError
from cyclegan.images import UnreadableImage, read_image

# How `centre_square` scales. Bicubic with a filter that widens when it reduces, and rounded to 8 bits,
# as Parmar et al. 2022 (https://arxiv.org/abs/2104.11222) advise: without the widening, scaling alone moves FID.
SCALING = "the shorter side scaled to {size} px (Pillow's bicubic, antialiased, 8 bits), the middle square cut out"
_READERS = 4  # threads that decode: decoders let other threads run
_KEPT_BYTES = 2**29  # of decoded squares are kept in memory; sets beyond that are read anew each time
_BATCH_PIXELS, _BATCH_MOST = 2**21, 32

log = logging.getLogger("cyclegan")


def centre_square(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """The middle of a uint8 HWC picture, scaled to size × size × 3; with `nearest` no new colour comes up.

    A picture of that size already is returned as it is.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    short = min(height, width)
    top, left = (height - short) / 2, (width - short) / 2
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    # The cut is part of the scaling, so that an odd rest is cut by half a pixel and not rounded to a side
    box = (left, top, left + short, top + short)
    return np.asarray(Image.fromarray(image).resize((size, size), how, box=box))


def batch_size(size: int) -> int:
    """The number of squares of this side that go through a network together."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // size**2))


class ImageSet:
    """Some pictures of one domain as squares of `size`, always in the same order.

    What has been decoded is kept in memory up to half a GiB. A file that cannot be read is skipped with a warning, or
    is an error if the set has to be `whole`; `CycleganError` where none can be read. `names`, which are relative, leave
    out the `unreadable` ones once they have been met, see `read`. `nearest` is for label maps, which may get no new
    colours.
    """

    def __init__(
        self, root: Path, names: Sequence[str], size: int, *, nearest: bool = False, whole: bool = False
    ) -> None:
        self.root = root
        self.size = size
        self.nearest = nearest
        self.whole = whole
        self._names = tuple(names)
        self._kept: dict[str, Tensor] = {}
        self._unreadable: set[str] = set()

    @classmethod
    def of(cls, pictures: FileList, size: int, most: int | None = None) -> ImageSet:
        """`pictures`, or the first `most` of them in the order of hashes: the same ones on every machine."""
        return cls(pictures.root, [pictures.names[index] for index in sorted(in_hash_order(pictures)[:most])], size)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in self._names if name not in self._unreadable)

    @property
    def unreadable(self) -> int:
        return len(self._unreadable)

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, count: int | None = None) -> Iterator[Tensor]:
        """The pictures, up to `count` (a number that suits the size) at a time: uint8 N × 3 × size × size."""
        pictures = self._each()
        while batch := list(islice(pictures, count or batch_size(self.size))):
            yield torch.stack(batch)

    def read(self) -> ImageSet:
        """Read everything once, so that `names` and `len` are those of the readable pictures; returns itself."""
        for _ in self._each():
            pass
        return self

    def forget(self) -> None:
        """Free the memory of what has been decoded; it is read anew when it is asked for again."""
        self._kept.clear()

    def paths(self) -> list[Path]:
        """The paths of the pictures, in their order."""
        return [self.root / name for name in self.names]

    def _each(self) -> Iterator[Tensor]:
        missing = [name for name in self.names if name not in self._kept]
        room = _KEPT_BYTES // (3 * self.size**2) - len(self._kept)
        with ThreadPoolExecutor(_READERS) as pool:
            reading = _ahead(pool, self._read, missing)
            for name in self.names:
                picture = self._kept.get(name)
                if picture is None:
                    picture = next(reading)
                    if picture is None:
                        continue
                    if room > 0:
                        self._kept[name] = picture
                        room -= 1
                yield picture
        if not self.names:
            raise CycleganError(f"none of the {len(self._names)} pictures in {self.root} can be read")

    def _read(self, name: str) -> Tensor | None:
        try:
            image = read_image(self.root / name)
        except UnreadableImage as error:
            if self.whole:
                raise
            log.warning("passed over: %s", error)
            self._unreadable.add(name)
            return None
        return torch.from_numpy(centre_square(image, self.size, nearest=self.nearest).transpose(2, 0, 1).copy())


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[str], Tensor | None], names: Iterable[str]
) -> Iterator[Tensor | None]:
    """`pool.map` that is only some pictures ahead of what is taken, and so never holds them all."""
    waiting: deque[Future[Tensor | None]] = deque()
    for name in names:
        waiting.append(pool.submit(read, name))
        if len(waiting) > 2 * _READERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
