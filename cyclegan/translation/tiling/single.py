"""Translation of one picture by itself: in tiles, from its file or from memory, or page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cyclegan.errors import CycleganError
from cyclegan.images import ArrayRegions, Header, Picture, UnreadableImage, open_regions, open_writer
from cyclegan.system.files import replacing
from cyclegan.translation.batching import unless_out_of_memory
from cyclegan.translation.jobs import Failure, Job, PictureIO, TiledPicture, TileFor, write_failure
from cyclegan.translation.tiling.policy import Tiling
from cyclegan.translation.tiling.translate import translate_regions
from cyclegan.translation.translator import Translator

LEAST = 256  # pixels; smaller sides are counted as this, since networks pad
LARGEST_TILE = 512  # first tile size of a picture that unexpectedly did not fit whole; halved if needed


@dataclass(frozen=True)
class Written:
    """Translation already written, with notes on what was dropped from its picture."""

    notes: tuple[str, ...]


class Single:
    """Translator of single pictures; `tiling` decides which are tiled."""

    def __init__(self, translator: Translator, io: PictureIO, tiling: Tiling) -> None:
        self.translator, self.io, self._tiling = translator, io, tiling
        self.tile_for: TileFor | None = None if tiling.tile is None else self._tile_for
        self._fits = 0  # bytes of pixels known to fit whole

    def translate(self, job: Job, given: Picture | TiledPicture) -> Picture | Failure | Written:
        """Translate one picture with its pages; `Written` if that already wrote the file."""
        tile, picture = (given.tile, given.picture) if isinstance(given, TiledPicture) else (None, given)
        try:
            if picture is None:
                assert tile is not None
                return self._from_file(job, tile)
            pages = [self._page(page, tile) for page in (replace(picture, pages=()), *picture.pages)]
        except (UnreadableImage, ValueError) as error:
            return Failure.of(error)
        except (OSError, CycleganError) as error:
            return write_failure(error)
        made = [page for page in pages if isinstance(page, Picture)]
        failed = [page for page in pages if isinstance(page, Failure)]
        return failed[0] if failed else replace(made[0], pages=tuple(made[1:]))

    def _tile_for(self, header: Header) -> int | None:
        """Tile size by the policy, which queries free memory; not repeated for many small pictures."""
        sides = max(header.height, LEAST) * max(header.width, LEAST)
        size = sides * header.channels * header.dtype.itemsize
        if self._tiling.tile == "auto" and size <= self._fits:
            return None

        def choose() -> int | None:
            tile = self._tiling.tile_for(self.translator, header)
            if tile is None:
                self._fits = max(self._fits, size)
            return tile

        # None too if not even the estimate fits; handled when the picture itself does not
        return unless_out_of_memory(choose, self.translator.device)

    def _page(self, picture: Picture, tile: int | None) -> Picture | Failure:
        if tile is None:
            made = attempt(self.translator, [picture])
            if made is not None:
                return made[0]
            tile = LARGEST_TILE
        if self._tiling.tile is not None:
            tiled = unless_out_of_memory(partial(self._in_memory, picture, tile), self.translator.device)
            if tiled is not None:
                return tiled
        size = f"{picture.width}×{picture.height} pixels"
        return Failure("MemoryError", f"{size} are more than fit in the memory; scale it down, or use another --device")

    def _in_memory(self, picture: Picture, tile: int) -> Picture:
        bands: list[np.ndarray] = []

        def write(pixels: np.ndarray, alpha: np.ndarray | None) -> None:
            bands.append(pixels)

        regions = ArrayRegions(picture)
        translate_regions(self.translator, regions, write, tile=tile, overlap=self._tiling.overlap)
        return replace(picture, pixels=np.concatenate(bands))

    def _from_file(self, job: Job, tile: int) -> Written:
        io, target = self.io, self.io.target(job)
        with open_regions(job.source, max_pixels=io.max_pixels) as regions:
            header = regions.header
            has_alpha = regions.read(0, 0, 1, 1)[1] is not None
            channels = self.translator.generator.out_channels
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                replacing(target, temporary_in=io.temporary) as temporary,
                open_writer(
                    *(temporary, target.suffix, header.height, header.width, channels, header.dtype, has_alpha),
                    regions.details,
                    quality=io.quality,
                    png_level=io.png_level,
                ) as writer,
            ):
                translate_regions(self.translator, regions, writer.write, tile=tile, overlap=self._tiling.overlap)
            return Written(tuple(regions.details.notes))


def attempt(translator: Translator, pictures: Sequence[Picture]) -> Sequence[Picture | Failure] | None:
    """Translate pictures of one kind, with failures in place; None if they do not fit in memory."""
    try:
        return unless_out_of_memory(lambda: translator.pictures(pictures), translator.device)
    except ValueError as error:
        if len(pictures) == 1:
            return [Failure.of(error)]
    # One of them does not suit the model: try each by itself to find which and why
    results: list[Picture | Failure] = []
    for picture in pictures:
        made = attempt(translator, [picture])
        if made is None:
            return None
        results += made
    return results


def nbytes(picture: object) -> int:
    """Bytes of a picture with its pages; 0 for anything else."""
    if isinstance(picture, TiledPicture):
        return nbytes(picture.picture)
    if not isinstance(picture, Picture):
        return 0
    alpha = 0 if picture.alpha is None else picture.alpha.nbytes
    return picture.pixels.nbytes + alpha + sum(map(nbytes, picture.pages))
