"""Scores of translations with a known truth: the drawn demo, or any aligned pictures with masks.

There are two, because neither suffices alone. *PSNR* against the truth, in dB, covers the whole picture, but is
slightly higher for grey animals than for plain ones, though neither has stripes. *Right texture* decides for each
animal pixel if the pattern around it is the true one, or that of an easy substitute for a translation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import list_images, read_image

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

NEIGHBOURHOOD = 3 / 64  # standard deviation of the compared window, as a share of the picture's shorter side
PATTERN = 6 / 64  # the same of the window that averages a pattern away; the period of the demo's stripes is 13/64
KEPT = 16.0  # mean difference of the channels, in levels of 255, up to which a background pixel counts as kept
ROUNDING = 1 / 12  # mean squared error, in levels, of rounding to whole levels


@dataclass(frozen=True)
class TruthScore:
    """The scores of a folder of translations, beside those of its untranslated inputs.

    `psnr` and `psnr_nothing` are means over pictures in dB, `gain_db` their difference. `texture` is the share of
    animal pixels, over all pictures, with the right texture (see `right_texture`). `background` is the share of
    background pixels kept to within 16 levels of 255, `background_error` their mean absolute error in levels.
    """

    count: int
    psnr: float
    psnr_nothing: float
    gain_db: float
    texture: float
    texture_nothing: float
    background: float
    background_error: float


def psnr(picture: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of uint8 HWC pictures: 10 log10(255² / mean squared error).

    The error is at least that of rounding to whole levels, 1/12, so that equal pictures score a finite 58.9.
    """
    assert picture.shape == truth.shape, (picture.shape, truth.shape)
    error = float(np.mean((picture.astype(np.float64) - truth) ** 2))
    return float(10 * np.log10(255**2 / max(error, ROUNDING)))


def right_texture(picture: Pixels, given: Pixels, truth: Pixels, mask: Pixels) -> NDArray[np.bool_]:
    """True for each animal pixel of `picture` with the texture of `truth`, in reading order.

    `given` is the input that was translated; pictures are uint8 HWC, `mask` is uint8 HW and an animal pixel is at
    least half coat (128 or more). The distance of two pictures at a pixel is the L2 distance of their RGB
    values over the coat around it, with Gaussian weights of 3/64 of the picture's side. The pixel is right when

    - the picture is nearer to the truth there than to each of two impostors: the input (nothing was done), and the
      striped picture with its stripes averaged away (it was only recoloured; misplaced stripes are even farther from
      the truth, as the truth with dark and pale exchanged lies opposite the truth); and
    - it is nearer to the truth than either impostor is, so that a colour far from all three does not pass.

    The one of `given` and `truth` with more contrast is the striped one, so this serves both directions.
    """
    shapes = {array.shape[:2] for array in (picture, given, truth, mask)}
    assert len(shapes) == 1, shapes
    coat = mask.astype(np.float64) / 255
    if not (mask >= 128).any():
        return np.zeros(0, bool)
    output, source, target = (array.astype(np.float64) for array in (picture, given, truth))
    side = min(mask.shape)
    flats = [_flattened(array, coat, PATTERN * side) for array in (source, target)]
    contrasts = [float((coat[..., None] * (a - f) ** 2).sum()) for a, f in zip((source, target), flats, strict=True)]
    flat = flats[0] if contrasts[0] > contrasts[1] else flats[1]

    def distance(first: Plane, second: Plane) -> Plane:
        return _blurred(coat * ((first - second) ** 2).sum(axis=2), NEIGHBOURHOOD * side)

    from_truth = distance(output, target)
    right = np.ones(mask.shape, bool)
    for impostor in (source, flat):
        right &= from_truth < np.minimum(distance(output, impostor), distance(target, impostor))
    return right[mask >= 128]


def score(outputs: Path, inputs: Path, truths: Path, masks: Path) -> TruthScore:
    """Score the pictures in `outputs`, made from those of the same names in `inputs`.

    Every input needs an output, a truth and a mask of its name and size; other files are ignored. Raises
    `UsageError` for a folder that is missing, has no pictures or lacks some, `CycleganError` for a picture of the
    wrong size or one that cannot be read.
    """
    names = _names(inputs)
    if not names:
        raise UsageError(f"{inputs} holds no picture to score; draw some with cyclegan data demo --test-count 40")
    for folder in (outputs, truths, masks):
        missing = sorted(set(names) - set(_names(folder)))
        if missing:
            raise UsageError(
                f"{folder} lacks {len(missing)} of {len(names)} pictures, first {missing[0]};"
                f" translate the whole of {inputs} into it"
            )
    psnrs, baselines, right, right_baseline, errors = [], [], [], [], []
    for name in names:
        given, picture, truth, mask = (read_image(folder / name) for folder in (inputs, outputs, truths, masks))
        for folder, other in ((outputs, picture), (truths, truth), (masks, mask)):
            if other.shape != given.shape:
                sizes = [f"{shape[1]}×{shape[0]}" for shape in (other.shape, given.shape)]
                raise CycleganError(f"{folder / name} is {sizes[0]}, but {inputs / name} is {sizes[1]}")
        coat = mask[..., 0]
        psnrs.append(psnr(picture, truth))
        baselines.append(psnr(given, truth))
        right.append(right_texture(picture, given, truth, coat))
        right_baseline.append(right_texture(given, given, truth, coat))
        errors.append(np.abs(picture.astype(np.float64) - truth)[coat == 0].mean(axis=1))
    error = np.concatenate(errors)
    return TruthScore(
        count=len(names),
        psnr=float(np.mean(psnrs)),
        psnr_nothing=float(np.mean(baselines)),
        gain_db=float(np.mean(psnrs) - np.mean(baselines)),
        texture=_mean(np.concatenate(right)),
        texture_nothing=_mean(np.concatenate(right_baseline)),
        background=_mean(error <= KEPT),
        background_error=_mean(error),
    )


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the one that holds the pictures")
    return list_images(folder)


def _mean(values: NDArray[np.bool_] | Plane) -> float:
    return float(values.mean()) if len(values) else 0.0


def _flattened(picture: Plane, coat: Plane, sigma: float) -> Plane:
    """`picture` with the pattern of the coat averaged away and everything else unchanged."""
    inner = np.where(coat == 1, 1.0, 0.0) if (coat == 1).any() else coat
    mean = _blurred(picture * inner[..., None], sigma) / np.maximum(_blurred(inner, sigma), 1e-12)[..., None]
    return picture + coat[..., None] * (mean - picture)


def _blurred(values: Plane, sigma: float) -> Plane:
    """Gaussian average of HW or HWC values; at the border only over pixels inside."""
    down, across = _weights(values.shape[0], sigma), _weights(values.shape[1], sigma)
    return np.einsum("ij,jk...,lk->il...", down, values, across, optimize=True)


@cache
def _weights(length: int, sigma: float) -> Plane:
    """Matrix (length × length) whose row i averages around i; for small pictures cheaper than a filter."""
    place = np.arange(length)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weights / weights.sum(axis=1, keepdims=True)
