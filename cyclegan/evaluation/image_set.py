"""Image sets, centre-cropped and resized alike for comparison."""

from __future__ import annotations

import contextlib
import logging
import os
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

# Scaling by `centre_square`: bicubic, with a filter that widens when it reduces, and rounded to 8 bits,
# as Parmar et al. 2022 (https://arxiv.org/abs/2104.11222) advise: without the widening, scaling alone moves FID.
SCALING = "the shorter side scaled to {size} px (Pillow's bicubic, antialiased, 8 bits), the middle square cut out"
_READERS = 4  # threads that decode: decoders let other threads run
_KEPT_BYTES = 2**29  # kept of decoded images; the rest of a larger set is read again each time
_BATCH_PIXELS, _BATCH_MOST = 2**21, 32

log = logging.getLogger("cyclegan")


def centre_square(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Centre crop of a uint8 HWC picture, scaled to size × size × 3; `nearest` adds no new colours.

    A picture that already has that size is returned unchanged.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    short = min(height, width)
    top, left = (height - short) / 2, (width - short) / 2
    resampling = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    # The crop is part of the scaling, so that an odd margin is halved exactly instead of rounded to one side
    box = (left, top, left + short, top + short)
    return np.asarray(Image.fromarray(image).resize((size, size), resampling, box=box))


def batch_size(size: int) -> int:
    """Number of images of this side that a network processes together."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // size**2))


class ImageSet:
    """Pictures of one domain, cropped and scaled to `size`, always in the same order.

    Decoded images are kept in memory, up to half a GiB. An unreadable file is skipped with a warning, or is an error if
    the set has to be `whole`; `CycleganError` if no file can be read. `names` are relative, and leave out `unreadable`
    files once these have been found, see `read`. `nearest` is for label maps, which must not get new colours.
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
        """`pictures`, or the first `most` of them in hash order: the same ones on every machine."""
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
        """Batches of up to `count` pictures (default: a number that suits the size), uint8 N × 3 × size × size."""
        pictures = self._each()
        while batch := list(islice(pictures, count or batch_size(self.size))):
            yield torch.stack(batch)

    def read(self) -> ImageSet:
        """Read every picture once, so that `names` and `len` count readable ones only; returns itself."""
        for _ in self._each():
            pass
        return self

    def forget(self) -> None:
        """Free the memory of decoded images; they are read again on demand."""
        self._kept.clear()

    def paths(self) -> list[Path]:
        """The paths of the pictures, in their order."""
        return [self.root / name for name in self.names]

    def stamp(self) -> bytes:
        """Names, sizes and times of the files. Times too: raw pixels have equal sizes whatever they show."""
        facts = []
        for name, path in zip(self.names, self.paths(), strict=True):
            size, time = -1, -1
            with contextlib.suppress(OSError):  # a broken link is skipped when the pictures are read
                status = path.stat()
                size, time = status.st_size, status.st_mtime_ns
            facts.append(os.fsencode(name) + f" {size} {time}".encode())
        return b"\n".join(facts)

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
            log.warning("skipped: %s", error)
            self._unreadable.add(name)
            return None
        return torch.from_numpy(centre_square(image, self.size, nearest=self.nearest).transpose(2, 0, 1).copy())


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[str], Tensor | None], names: Iterable[str]
) -> Iterator[Tensor | None]:
    """`pool.map` that reads only a few pictures ahead, and so never holds them all."""
    waiting: deque[Future[Tensor | None]] = deque()
    for name in names:
        waiting.append(pool.submit(read, name))
        if len(waiting) > 2 * _READERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
