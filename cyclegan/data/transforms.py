"""What happens to a picture between the file and the network: scaling, cutting, mirroring, or a pipeline of the user's.

The part that is always the same, `prepare`, is apart from the part that is drawn anew each time, `vary`, so that the
first can be kept. albumentations does the scaling and whatever the user asks for. A random state is set for every
sample: left alone, all transforms of a pipeline draw from one and the same stream, so that two kinds of flip come out
as one, and every worker repeats the others.
"""

from __future__ import annotations

import os
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError, nearest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks a server for the newest version

import albumentations as A
import cv2
from albumentations.core.serialization import SERIALIZABLE_REGISTRY

# A strip of 1 × 10000 pixels, scaled to a shorter side of 286, would take 2 GB: of such a picture the middle is used.
LONGEST = 16  # times the shorter side


class Transform(ABC):
    """A picture to uint8 squares of `crop_size`, in two parts; it pickles, for workers that are spawned.

    `load_size` is the shorter side that `prepare` makes, or None where it leaves the picture as decoded.
    """

    def __init__(self, crop_size: int, load_size: int | None) -> None:
        self.crop_size = crop_size
        self.load_size = load_size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A uint8 HWC RGB picture of any size to uint8 HWC RGB of `crop_size`, as `rng` decides: both parts."""
        return self.vary(self.prepare(image), rng)

    @abstractmethod
    def prepare(self, image: np.ndarray) -> np.ndarray:
        """What is the same each time: uint8 HWC RGB of any size to the uint8 HWC RGB that `vary` starts from."""

    @abstractmethod
    def vary(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What `rng` decides: a prepared picture to uint8 HWC RGB of `crop_size`. `image` is never written to."""


class CutAndMirror(Transform):
    """The shorter side to `load_size`; then a random square of `crop_size`, half of them mirrored if `flip`.

    The square and the mirroring are taken without albumentations, whose calls cost 0.11 ms beside the 0.03 ms of the
    work, with its own draws in its own order: pixel for pixel `Compose([RandomCrop, HorizontalFlip])`.
    """

    def __init__(self, crop_size: int, load_size: int, flip: bool) -> None:
        super().__init__(crop_size, load_size)
        self.flip = flip
        self.scale = _scale(load_size)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.scale(image=_without_excess(image))["image"]
        return result

    def vary(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        size = self.crop_size
        assert min(height, width) >= size, f"a crop of {size} from a prepared picture of {width}×{height}"
        draws = _draws(rng)
        draws.random()  # whether to run at all: a Compose asks, though the answer is always yes
        top = int((height - size + 1) * draws.random())
        left = int((width - size + 1) * draws.random())
        square = image[top : top + size, left : left + size]
        return cv2.flip(square, 1) if self.flip and draws.random() < 0.5 else square


class Pipeline(Transform):
    """A pipeline of the user's, read from the file `source`; it starts from the picture as decoded."""

    def __init__(self, pipeline: A.Compose, crop_size: int, source: str) -> None:
        super().__init__(crop_size, None)
        self.pipeline = pipeline
        self.source = source  # for the words of an error

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return _without_excess(image)

    def vary(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As the base class has it. Raises `UsageError` when the pipeline fails or makes anything else of it."""
        height, width = image.shape[:2]
        self.pipeline.set_random_state(rng, _draws(rng))
        try:
            # A copy: nobody vouches for what a transform does to its input, and this one may be shared by all workers
            result = self.pipeline(image=image.copy())["image"]
        except Exception as error:
            # Whatever a transform raises on a picture it is not fit for, such as a crop on one that is too small
            raise UsageError(
                f"--augment: {self.source} fails on a picture of {width}×{height} pixels: {_first_line(error)}"
            ) from error
        wanted = (self.crop_size, self.crop_size, 3)
        if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape != wanted:
            kind = getattr(result, "dtype", type(result).__name__)
            size = "×".join(map(str, getattr(result, "shape", ())))
            raise UsageError(
                f"--augment: {self.source} makes {size} {kind} of a picture of {width}×{height} "
                f"pixels, but training takes {'×'.join(map(str, wanted))} uint8; end it with a crop or resize to "
                "--crop-size and leave normalising to the training"
            )
        return result


def build_transform(config: TrainConfig) -> Transform:
    """The pipeline of `config`: shorter side to `load_size`, a random square of `crop_size`, half mirrored.

    `config.augment` names a file with another pipeline instead, which is tried on two pictures at once, so that what
    is wrong with it is said before anything starts. Raises `UsageError`.
    """
    if config.augment is None:
        return CutAndMirror(config.crop_size, config.load_size, config.flip)
    transform = Pipeline(_read_pipeline(Path(config.augment)), config.crop_size, config.augment)
    for height, width in ((config.load_size, config.load_size + 37), (config.crop_size * 3, config.crop_size * 2)):
        grey = np.full((height, width, 3), 128, np.uint8)
        transform(grey, np.random.default_rng(0))
    return transform


def _draws(rng: np.random.Generator) -> random.Random:
    """Python's kind of random numbers, which albumentations draws most of its own from."""
    return random.Random(int(rng.integers(2**63)))


def prepared_size(height: int, width: int, load_size: int | None) -> tuple[float, float]:
    """About the height and width that `prepare` makes of a picture, to reckon with."""
    short = min(height, width)
    height, width = min(height, LONGEST * short), min(width, LONGEST * short)
    factor = 1.0 if load_size is None else load_size / short
    return height * factor, width * factor


def fit(image: np.ndarray, load_size: int, crop_size: int) -> np.ndarray:
    """The middle of a picture at the scale of training, nothing random: uint8 HWC to crop_size × crop_size × 3."""
    pipeline = A.Compose([_scale(load_size), A.CenterCrop(crop_size, crop_size)])
    result: np.ndarray = pipeline(image=_without_excess(image))["image"]
    return result


def _scale(size: int) -> A.SmallestMaxSize:
    # Linear to enlarge; area to reduce, where linear would skip pixels and turn fine texture into noise
    return A.SmallestMaxSize(max_size=size, area_for_downscale="image")


def _without_excess(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    limit = LONGEST * min(height, width)
    top, left = max(height - limit, 0) // 2, max(width - limit, 0) // 2
    return image[top : top + limit, left : left + limit]


def _read_pipeline(path: Path) -> A.Compose:
    """A pipeline from YAML: a list (`- RandomCrop: {height: 256, width: 256}`), or what `A.to_dict` makes."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # safe: tags that would run code are refused
    except OSError as error:
        raise UsageError(f"--augment: cannot read {path} ({(error.strerror or str(error)).lower()})") from None
    except UnicodeDecodeError:
        raise UsageError(f"--augment: {path} is not text; give a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"--augment: {path}{line}: {getattr(error, 'problem', None) or error}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # albumentations only warns of an argument it does not know
        try:
            if isinstance(content, Mapping) and "transform" in content:
                return _from_dump(content)
            if isinstance(content, list) and content:
                return A.Compose([_build(entry) for entry in content])
        except (ValueError, TypeError, KeyError, AttributeError, UserWarning) as error:
            raise UsageError(f"--augment: {path}: {_first_line(error)}") from error
        except UsageError as error:
            raise UsageError(f"--augment: {path}: {error}") from error
    raise UsageError(
        f"--augment: {path} holds no pipeline; write a list such as `- HorizontalFlip: {{p: 0.5}}`, "
        "or what albumentations.to_dict gives"
    )


def _from_dump(content: Mapping[str, Any]) -> A.Compose:
    _check_dumped(content["transform"])
    pipeline = A.from_dict(dict(content))
    return pipeline if isinstance(pipeline, A.Compose) else A.Compose([pipeline])


def _check_dumped(entry: Any) -> None:
    if not isinstance(entry, Mapping) or "__class_fullname__" not in entry:
        raise ValueError("a transform has no __class_fullname__")
    _known(str(entry["__class_fullname__"]))
    for inner in entry.get("transforms") or []:
        _check_dumped(inner)


def _build(entry: Any) -> Any:
    """One transform from `Name`, `Name: {argument: value}`, or, for one that holds others, `Name: [transforms]`."""
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
        raise UsageError(f"{name}: {_first_line(error)}") from error


def _known(name: str) -> Any:
    short = name.rsplit(".", 1)[-1]  # old dumps write albumentations.….Name
    table = {
        key: kind for key, kind in SERIALIZABLE_REGISTRY.items() if issubclass(kind, A.BasicTransform | A.BaseCompose)
    }
    if name != short and not name.startswith("albumentations."):
        raise UsageError(f"{name} is no transform of albumentations")
    if short not in table:
        raise UsageError(f"unknown transform {name!r}{_nearest(short, table)}")
    return table[short]


def _nearest(name: str, table: Mapping[str, Any]) -> str:
    hint = nearest(name, table)
    return hint if "did you mean" in hint else "; albumentations' documentation lists them"


def _first_line(error: BaseException) -> str:
    """The point of an error: of a report by pydantic in four lines the field and what is wrong with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__
