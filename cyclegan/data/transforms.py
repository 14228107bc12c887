"""What happens to a picture between the file and the network: scaling, cutting, mirroring, or a pipeline of the user's.

The part that is always the same, `prepare`, is apart from the part that is drawn anew each time, `augment`, so that the
first can be kept. albumentations does the scaling and whatever the user asks for. A random state is set for every
sample: left alone, all transforms of a pipeline draw from one and the same stream, so that two kinds of flip come out
as one, and every worker repeats the others.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cyclegan.config import TrainConfig
from cyclegan.data.augmentation_file import read_pipeline
from cyclegan.data.kinds import BYTES, PLAIN, InputKind
from cyclegan.errors import UsageError, first_line
from cyclegan.images import UnreadableImage, escaped

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks a server for the newest version

import albumentations as A
import cv2

# A strip of 1 × 10000 pixels, scaled to a shorter side of 286, would take 2 GB: of such a picture the middle is used.
LONGEST = 16  # times the shorter side
_QUICK = (3,)  # channels that OpenCV is used for beside scaling: it drops a single one, and takes 512 at most


class CropWindow(NamedTuple):
    """The square that is cut from a picture."""

    top: int
    left: int
    mirrored: bool


class Transform(ABC):
    """A picture to squares of `crop_size`, in two parts; it pickles, for workers that are spawned.

    Pictures are HWC of any number of channels, uint8 or float32 in [0, 1], and stay what they are. `load_size` is the
    shorter side that `prepare` makes, or None where it leaves pictures of at least `crop_size` as decoded.
    """

    def __init__(self, crop_size: int, load_size: int | None) -> None:
        self.crop_size = crop_size
        self.load_size = load_size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of any size to one of `crop_size`, as `rng` decides: both parts."""
        return self.augment(self.prepare(image), rng)

    @abstractmethod
    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Convert a picture of any size to the fixed form that `augment` starts from."""

    @abstractmethod
    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What `rng` decides: a prepared picture to one of `crop_size`. `image` is never written to."""

    windows = False  # whether `window` ever says that the square is all that is needed

    def window(self, height: int, width: int, rng: np.random.Generator) -> CropWindow | None:
        """The square that `augment` would cut from a picture of this size, None where it needs more of it than that."""
        return None

    @property
    def depends_on(self) -> tuple[Any, ...]:
        """What `prepare` depends on besides the picture."""
        return (self.load_size,)


class ScaleCropFlip(Transform):
    """The shorter side to `load_size`; then a random square of `crop_size`, half of them mirrored if `flip`.

    The square and the mirroring are taken without albumentations, whose calls cost 0.11 ms beside the 0.03 ms of the
    work, with its own draws in its own order: pixel for pixel `Compose([RandomCrop, HorizontalFlip])`.
    """

    def __init__(self, crop_size: int, load_size: int | None, flip: bool) -> None:
        super().__init__(crop_size, load_size)
        self.flip = flip
        self.scale = _scale(crop_size if load_size is None else load_size)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return _scaled(self.scale, _without_excess(image))

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        size = self.crop_size
        assert min(height, width) >= size, f"a crop of {size} from a prepared picture of {width}×{height}"
        window = self._drawn(height, width, rng)
        square = image[window.top : window.top + size, window.left : window.left + size]
        return mirror(square) if window.mirrored else square

    def _drawn(self, height: int, width: int, rng: np.random.Generator) -> CropWindow:
        draws = _draws(rng)
        draws.random()  # whether to run at all: a Compose asks, though the answer is always yes
        top = int((height - self.crop_size + 1) * draws.random())
        left = int((width - self.crop_size + 1) * draws.random())
        return CropWindow(top, left, self.flip and draws.random() < 0.5)


class CropFlip(ScaleCropFlip):
    """The same from pictures that are not scaled, but for those smaller than the crop, which are enlarged to it."""

    windows = True

    def __init__(self, crop_size: int, flip: bool) -> None:
        super().__init__(crop_size, None, flip)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return super().prepare(image) if min(image.shape[:2]) < self.crop_size else image

    def window(self, height: int, width: int, rng: np.random.Generator) -> CropWindow | None:
        return self._drawn(height, width, rng) if min(height, width) >= self.crop_size else None

    @property
    def depends_on(self) -> tuple[Any, ...]:
        return (0, self.crop_size)


class UserPipeline(Transform):
    """A pipeline of the user's, read from the file `source`; it starts from the picture as decoded.

    All its steps draw from one stream, of which noise takes a number for each channel. With `paired` each has a stream
    of its own, so that pictures of equal size and other channels are cut, turned and bent alike by equal random states.
    """

    def __init__(self, pipeline: A.Compose, crop_size: int, source: str, *, paired: bool = False) -> None:
        super().__init__(crop_size, None)
        self.pipeline = pipeline
        self.source = source  # for the words of an error
        self.steps = list(_steps(pipeline)) if paired else []

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return _without_excess(image)

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As the base class has it. Raises `UsageError` when the pipeline fails or makes anything else of it."""
        height, width = image.shape[:2]
        self.pipeline.set_random_state(rng, _draws(rng))
        for step, stream in zip(self.steps, rng.spawn(len(self.steps)), strict=True):
            step.set_random_state(stream, _draws(stream))
        try:
            # A copy: nobody vouches for what a transform does to its input, and this one may be shared by all workers
            result = self.pipeline(image=image.copy())["image"]
            if image.shape[2] == 1 and getattr(result, "ndim", 0) == 2:  # OpenCV leaves out a single channel
                result = result[:, :, None]
        except Exception as error:
            # Whatever a transform raises on a picture it is not fit for, such as a crop on one that is too small
            raise UsageError(
                f"--augment: {self.source} fails on a picture of {width}×{height} pixels{_unusual(image)}: "
                f"{first_line(error)}"
            ) from error
        wanted = (self.crop_size, self.crop_size, image.shape[2])
        if not isinstance(result, np.ndarray) or result.dtype != image.dtype or result.shape != wanted:
            kind = getattr(result, "dtype", type(result).__name__)
            size = "×".join(map(str, getattr(result, "shape", ())))
            raise UsageError(
                f"--augment: {self.source} makes {size} {kind} of a picture of {width}×{height} "
                f"pixels, but training takes {'×'.join(map(str, wanted))} {image.dtype}; end it with a crop or resize "
                "to --crop-size and leave normalising to the training"
            )
        if result.dtype == np.uint8:
            return result
        if not np.isfinite(result).all():
            raise UsageError(f"--augment: {self.source} makes numbers that are not finite of a picture that has none")
        return np.clip(result, 0, 1)


def build_transform(config: TrainConfig, kinds: Iterable[InputKind] = (PLAIN,), *, paired: bool = False) -> Transform:
    """The pipeline of `config`: shorter side to `load_size`, a random square of `crop_size`, half mirrored.

    `config.augment` names a file with another pipeline instead, which is tried on two pictures of each of `kinds`, so
    that what is wrong with it is said before anything starts. With `paired`, equal random states cut pictures of equal
    size alike, whatever their kinds. Raises `UsageError`.
    """
    if config.augment is None:
        if config.load_size == 0:
            return CropFlip(config.crop_size, config.flip)
        return ScaleCropFlip(config.crop_size, config.load_size, config.flip)
    transform = UserPipeline(read_pipeline(Path(config.augment)), config.crop_size, config.augment, paired=paired)
    load_size = config.load_size or config.crop_size
    for channels, dtype in dict.fromkeys((kind.channels, kind.dtype) for kind in kinds):
        for height, width in ((load_size, load_size + 37), (config.crop_size * 3, config.crop_size * 2)):
            grey = np.full((height, width, channels), 128 if dtype == BYTES else 0.5, dtype)
            transform(grey, np.random.default_rng(0))
    return transform


def _steps(pipeline: A.BaseCompose) -> Iterator[A.BasicTransform]:
    for step in pipeline.transforms:
        yield from _steps(step) if isinstance(step, A.BaseCompose) else (step,)


def _draws(rng: np.random.Generator) -> random.Random:
    """Python's kind of random numbers, which albumentations draws most of its own from."""
    return random.Random(int(rng.integers(2**63)))


def prepared_size(height: int, width: int, load_size: int | None) -> tuple[float, float]:
    """About the height and width that `prepare` makes of a picture, to reckon with."""
    short = min(height, width)
    height, width = min(height, LONGEST * short), min(width, LONGEST * short)
    factor = 1.0 if load_size is None else load_size / short
    return height * factor, width * factor


def require_one_view(sizes: Mapping[Path, tuple[int, int]], load_size: int | None) -> None:
    """`UnreadableImage` where the pictures of a pair, by height and width, do not lie over each other once prepared.

    Scaling rounds, so that scaled pictures may differ by a pixel.
    """
    prepared = {path: prepared_size(*size, load_size) for path, size in sizes.items()}
    (first, (down, across)), *others = prepared.items()
    for path, (height, width) in others:
        if max(abs(height - down), abs(width - across)) > (load_size is not None):
            one, other = (f"{sizes[each][1]}×{sizes[each][0]}" for each in (first, path))
            raise UnreadableImage(first, f"its {one} pixels do not lie over the {other} of {escaped(str(path))}")


def fit(image: np.ndarray, load_size: int, crop_size: int) -> np.ndarray:
    """The middle of a picture at the scale of training, nothing random: HWC to crop_size × crop_size × C.

    With a `load_size` of 0 only what is smaller than the crop is scaled.
    """
    if load_size or min(image.shape[:2]) < crop_size:
        image = _scaled(_scale(load_size or crop_size), _without_excess(image))
    height, width = image.shape[:2]
    top, left = middle(height, width, crop_size)
    return image[top : top + crop_size, left : left + crop_size]


def middle(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the square in the middle of a picture."""
    return (height - size) // 2, (width - size) // 2


def mirror(image: np.ndarray) -> np.ndarray:
    """HWC, left to right."""
    return cv2.flip(image, 1) if image.shape[2] in _QUICK else image[:, ::-1]


def to_planes(image: np.ndarray, planes: np.ndarray) -> None:
    """HWC into `planes`, CHW."""
    if image.shape[2] in _QUICK:
        cv2.split(image, list(planes))  # in place, and three times as fast as copying a transposed array
    else:
        planes[...] = image.transpose(2, 0, 1)


def _scale(size: int) -> A.SmallestMaxSize:
    # Linear to enlarge; area to reduce, where linear would skip pixels and turn fine texture into noise
    return A.SmallestMaxSize(max_size=size, area_for_downscale="image")


def _scaled(scale: A.SmallestMaxSize, image: np.ndarray) -> np.ndarray:
    result: np.ndarray = scale(image=image)["image"]
    return result.reshape(*result.shape[:2], image.shape[2])  # OpenCV leaves out a single channel


def _unusual(image: np.ndarray) -> str:
    """What may be why: said only of pictures other than 8-bit RGB."""
    plain = image.shape[2] == 3 and image.dtype == np.uint8
    return "" if plain else f" with {image.shape[2]} channels of {image.dtype}"


def _without_excess(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    limit = LONGEST * min(height, width)
    top, left = max(height - limit, 0) // 2, max(width - limit, 0) // 2
    return image[top : top + limit, left : left + limit]
