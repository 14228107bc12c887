"""Scaling, cropping and flipping of training pictures, or a user's pipeline.

The deterministic part, `prepare`, is separate from the random one, `augment`, so that its result can be cached.
albumentations does the scaling and the user's pipeline. A random state is set for every sample: by default all
transforms of a pipeline draw from the same stream, so that two kinds of flip coincide, and every worker repeats the
others.
"""

from __future__ import annotations

import os
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cyclegan.config import TrainConfig
from cyclegan.config.safe_yaml import read_yaml
from cyclegan.data.kinds import BYTES, PLAIN, InputKind
from cyclegan.errors import UsageError, did_you_mean, first_line, reason_of
from cyclegan.images import UnreadableImage, escaped

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks a server for the newest version

import albumentations as A
import cv2
from albumentations.core.serialization import SERIALIZABLE_REGISTRY

# A strip of 1 × 10000 pixels, scaled to a shorter side of 286, would take 2 GB, so only its middle is used.
LONGEST = 16  # times the shorter side
_QUICK = (3,)  # channels for which OpenCV also flips and splits: it drops a single channel, and takes 512 at most


class CropWindow(NamedTuple):
    """Position of a crop in a picture, and whether it is mirrored."""

    top: int
    left: int
    mirrored: bool


class Transform(ABC):
    """Conversion of a picture to a crop of `crop_size`, in two parts; picklable, for spawned workers.

    Pictures are HWC of any number of channels, uint8 or float32 in [0, 1], and keep both. `load_size` is the shorter
    side that `prepare` makes, or None if it leaves pictures of at least `crop_size` as decoded.
    """

    windows = False  # `window` may return a crop

    def __init__(self, crop_size: int, load_size: int | None) -> None:
        self.crop_size = crop_size
        self.load_size = load_size
        self.depends_on: tuple[Any, ...] = (load_size,)  # the parameters of `prepare`

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply both parts: a picture of any size to one of `crop_size`."""
        return self.augment(self.prepare(image), rng)

    @abstractmethod
    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Convert a picture of any size to the fixed form that `augment` starts from."""

    @abstractmethod
    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply the random part, which ends in `crop_size`; `image` is never written to."""

    def window(self, height: int, width: int, rng: np.random.Generator) -> CropWindow | None:
        """The crop that `augment` would take from a picture of this size; None if it needs more than that."""
        return None


class CropFlip(Transform):
    """Scaling of the shorter side to `load_size`, then a random crop of `crop_size`, half of them mirrored if `flip`.

    Without a `load_size` only pictures smaller than the crop are scaled, to its size. Cropping and flipping do without
    albumentations, whose calls cost 0.11 ms beside the 0.03 ms of the work, but make its draws in its order: the result
    is that of `Compose([RandomCrop, HorizontalFlip])`, pixel for pixel.
    """

    def __init__(self, crop_size: int, load_size: int | None, flip: bool) -> None:
        super().__init__(crop_size, load_size)
        self.flip = flip
        self.windows = load_size is None
        self.depends_on = (0, crop_size) if load_size is None else (load_size,)
        self.scale = _scale(load_size or crop_size)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        if self.windows and min(image.shape[:2]) >= self.crop_size:
            return image
        return _scaled(self.scale, _without_excess(image))

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        size = self.crop_size
        assert min(height, width) >= size, f"a crop of {size} from a prepared picture of {width}×{height}"
        window = self._drawn(height, width, rng)
        crop = image[window.top : window.top + size, window.left : window.left + size]
        return mirror(crop) if window.mirrored else crop

    def window(self, height: int, width: int, rng: np.random.Generator) -> CropWindow | None:
        return self._drawn(height, width, rng) if self.windows and min(height, width) >= self.crop_size else None

    def _drawn(self, height: int, width: int, rng: np.random.Generator) -> CropWindow:
        draws = _draws(rng)
        draws.random()  # a Compose draws whether to run at all, though it always does
        top = int((height - self.crop_size + 1) * draws.random())
        left = int((width - self.crop_size + 1) * draws.random())
        return CropWindow(top, left, self.flip and draws.random() < 0.5)


class UserPipeline(Transform):
    """A user's pipeline from the file `source`, applied to pictures as decoded.

    All its steps draw from one stream, of which noise takes a number for each channel. With `paired` each step has its
    own stream, so that equal random states treat pictures of equal size alike, whatever their channels.
    """

    def __init__(self, pipeline: A.Compose, crop_size: int, source: str, *, paired: bool = False) -> None:
        super().__init__(crop_size, None)
        self.pipeline = pipeline
        self.source = source  # for errors
        self.steps = list(_steps(pipeline)) if paired else []

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return _without_excess(image)

    def augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply the pipeline; `UsageError` if it fails or returns anything but a valid crop."""
        height, width = image.shape[:2]
        self.pipeline.set_random_state(rng, _draws(rng))
        for step, stream in zip(self.steps, rng.spawn(len(self.steps)), strict=True):
            step.set_random_state(stream, _draws(stream))
        try:
            # A copy: a transform may write to its input, and this one may be shared by all workers
            result = self.pipeline(image=image.copy())["image"]
            if image.shape[2] == 1 and getattr(result, "ndim", 0) == 2:  # OpenCV drops a single channel
                result = result[:, :, None]
        except Exception as error:
            # Any error of a transform on an unsuitable picture, such as a crop on one that is too small
            plain = image.shape[2] == 3 and image.dtype == np.uint8
            kind = "" if plain else f" with {image.shape[2]} channels of {image.dtype}"  # which may be the reason
            raise UsageError(
                f"--augment: {self.source} fails on a picture of {width}×{height} pixels{kind}: {first_line(error)}"
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
    """The transform of `config`: shorter side to `load_size`, a random crop of `crop_size`, half of them mirrored.

    `config.augment` names a file with another pipeline instead, which is tried on two pictures of each of `kinds`, so
    that its faults are reported before anything starts. With `paired`, equal random states treat pictures of equal size
    alike, whatever their kinds. Raises `UsageError`.
    """
    if config.augment is None:
        return CropFlip(config.crop_size, config.load_size or None, config.flip)
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
    """Python's random generator, which albumentations draws most of its numbers from."""
    return random.Random(int(rng.integers(2**63)))


def prepared_size(height: int, width: int, load_size: int | None) -> tuple[float, float]:
    """Approximate height and width of a prepared picture."""
    short = min(height, width)
    height, width = min(height, LONGEST * short), min(width, LONGEST * short)
    factor = 1.0 if load_size is None else load_size / short
    return height * factor, width * factor


def require_equal_size(sizes: Mapping[Path, tuple[int, int]], load_size: int | None) -> None:
    """Raise `UnreadableImage` unless the pictures of a pair have the same prepared size.

    `sizes` are heights and widths. Scaling rounds, so that scaled pictures may differ by a pixel.
    """
    prepared = {path: prepared_size(*size, load_size) for path, size in sizes.items()}
    (first, (down, across)), *others = prepared.items()
    for path, (height, width) in others:
        if max(abs(height - down), abs(width - across)) > (load_size is not None):
            one, other = (f"{sizes[each][1]}×{sizes[each][0]}" for each in (first, path))
            raise UnreadableImage(first, f"its {one} pixels do not match the {other} of {escaped(str(path))}")


def fit(image: np.ndarray, load_size: int, crop_size: int) -> np.ndarray:
    """The centre crop of a picture at the scale of training: HWC to crop_size × crop_size × C.

    With a `load_size` of 0 only pictures smaller than the crop are scaled.
    """
    if load_size or min(image.shape[:2]) < crop_size:
        image = _scaled(_scale(load_size or crop_size), _without_excess(image))
    height, width = image.shape[:2]
    top, left = middle(height, width, crop_size)
    return image[top : top + crop_size, left : left + crop_size]


def middle(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the centre crop."""
    return (height - size) // 2, (width - size) // 2


def mirror(image: np.ndarray) -> np.ndarray:
    """Flip HWC from left to right."""
    return cv2.flip(image, 1) if image.shape[2] in _QUICK else image[:, ::-1]


def to_planes(image: np.ndarray, planes: np.ndarray) -> None:
    """Copy HWC into `planes`, CHW."""
    if image.shape[2] in _QUICK:
        cv2.split(image, list(planes))  # in place, three times as fast as copying a transposed array
    else:
        planes[...] = image.transpose(2, 0, 1)


def _scale(size: int) -> A.SmallestMaxSize:
    # Linear to enlarge; area to reduce, where linear would skip pixels and turn fine texture into noise
    return A.SmallestMaxSize(max_size=size, area_for_downscale="image")


def _scaled(scale: A.SmallestMaxSize, image: np.ndarray) -> np.ndarray:
    result: np.ndarray = scale(image=image)["image"]
    return result.reshape(*result.shape[:2], image.shape[2])  # OpenCV drops a single channel


def _without_excess(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    limit = LONGEST * min(height, width)
    top, left = max(height - limit, 0) // 2, max(width - limit, 0) // 2
    return image[top : top + limit, left : left + limit]


def read_pipeline(path: Path) -> A.Compose:
    """Read a pipeline from YAML: a list (`- RandomCrop: {height: 256, width: 256}`), or the output of `A.to_dict`.

    Every mistake in it is a `UsageError` of one sentence.
    """
    try:
        content = read_yaml(path)
    except OSError as error:
        raise UsageError(f"--augment: cannot read {path} ({reason_of(error).lower()})") from None
    except UnicodeDecodeError:
        raise UsageError(f"--augment: {path} is not text; give a YAML file") from None
    except ValueError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"--augment: {path}{line}: {getattr(error.__cause__, 'problem', None) or error}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # albumentations only warns of an argument it does not know
        try:
            if isinstance(content, Mapping) and "transform" in content:
                _check_dumped(content["transform"])
                pipeline = A.from_dict(dict(content))
                return pipeline if isinstance(pipeline, A.Compose) else A.Compose([pipeline])
            if isinstance(content, list) and content:
                return A.Compose([_build(entry) for entry in content])
        except (UsageError, ValueError, TypeError, KeyError, AttributeError, UserWarning) as error:
            raise UsageError(f"--augment: {path}: {first_line(error)}") from error
    raise UsageError(
        f"--augment: {path} holds no pipeline; write a list such as `- HorizontalFlip: {{p: 0.5}}`, "
        "or what albumentations.to_dict gives"
    )


def _check_dumped(entry: Any) -> None:
    if not isinstance(entry, Mapping) or "__class_fullname__" not in entry:
        raise ValueError("a transform has no __class_fullname__")
    _known(str(entry["__class_fullname__"]))
    for inner in entry.get("transforms") or []:
        _check_dumped(inner)


def _build(entry: Any) -> Any:
    """Build a transform from `Name`, `Name: {argument: value}`, or, for one that holds others, `Name: [transforms]`."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"{entry!r} is not one transform; write `- Name: {{argument: value}}`")
    name, arguments = next(iter(entry.items()))
    if isinstance(arguments, list):
        arguments = {"transforms": arguments}
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ValueError(f"{name}: {arguments!r} is not a list of arguments; write {{argument: value}}")
    arguments = dict(arguments or {})
    kind = _known(str(name))
    if "transforms" in arguments:
        arguments["transforms"] = [_build(inner) for inner in arguments["transforms"]]
    try:
        return kind(**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise UsageError(f"{name}: {first_line(error)}") from error


def _known(name: str) -> Any:
    """The class of a transform by its name or full name."""
    short = name.rsplit(".", 1)[-1]  # old dumps write albumentations.….Name
    table = {
        key: kind for key, kind in SERIALIZABLE_REGISTRY.items() if issubclass(kind, A.BasicTransform | A.BaseCompose)
    }
    if name != short and not name.startswith("albumentations."):
        raise UsageError(f"{name} is not a transform of albumentations")
    if short not in table:
        hint = did_you_mean(short, table)
        known = hint if "did you mean" in hint else "; albumentations' documentation lists them"
        raise UsageError(f"unknown transform {name!r}{known}")
    return table[short]
