"""Backgrounds of the demo animals: sky, hills, ground, trees, bushes, stones, and daylight.

A background has every tone of the animals: brown hills and trunks, near-black bushes, near-white clouds and stones. A
translator that considers only the colour of a pixel therefore spoils it, and has to learn the shape of an animal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # HWC RGB, 0 is black and 1 is white
Plane = NDArray[np.float32]  # HW

SKIES = (  # top, and just above the horizon
    ((0.36, 0.58, 0.86), (0.76, 0.86, 0.93)),  # noon
    ((0.55, 0.68, 0.80), (0.90, 0.89, 0.84)),  # haze
    ((0.62, 0.66, 0.71), (0.82, 0.83, 0.84)),  # overcast
    ((0.47, 0.48, 0.70), (0.95, 0.76, 0.58)),  # evening
    ((0.42, 0.66, 0.80), (0.93, 0.90, 0.72)),  # morning
)
GROUNDS = (  # far, near
    ((0.56, 0.68, 0.36), (0.34, 0.52, 0.22)),  # meadow
    ((0.72, 0.69, 0.40), (0.56, 0.55, 0.26)),  # dry grass
    ((0.88, 0.78, 0.56), (0.78, 0.62, 0.40)),  # sand
    ((0.66, 0.50, 0.34), (0.50, 0.36, 0.24)),  # earth
    ((0.62, 0.66, 0.58), (0.42, 0.50, 0.40)),  # steppe
)
HILLS = ((0.45, 0.56, 0.42), (0.55, 0.45, 0.36), (0.50, 0.52, 0.64), (0.36, 0.38, 0.34), (0.72, 0.62, 0.48))
LEAVES = ((0.22, 0.36, 0.16), (0.14, 0.20, 0.13), (0.36, 0.42, 0.18), (0.52, 0.36, 0.18))
STONES = ((0.86, 0.84, 0.80), (0.56, 0.53, 0.50), (0.24, 0.22, 0.21), (0.52, 0.38, 0.27))
TRUNK = (0.38, 0.26, 0.18)


@dataclass(frozen=True)
class Light:
    """The direction of the light (a unit vector in the picture, y downwards), its colour and strength."""

    direction: tuple[float, float]
    colour: tuple[float, float, float]

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Light:
        """Random light: from the left to the right, warm or cool, dull or bright."""
        angle = random.uniform(-1.1, 1.1)
        warmth, strength = random.uniform(-0.05, 0.07), random.uniform(0.86, 1.04)
        return cls(
            (float(np.sin(angle)), float(-np.cos(angle))),
            (float(strength * (1 + warmth)), float(strength), float(strength * (1 - warmth))),
        )


def grid(side: int) -> tuple[Plane, Plane]:
    """The x and y of the pixel centres of a square picture, both from 0 to 1, y downwards."""
    line = ((np.arange(side) + 0.5) / side).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def noise(random: np.random.Generator, side: int, rows: int, columns: int) -> Plane:
    """Smooth noise of unit variance at its `rows` × `columns` knots; the same field at every `side`."""
    knots = random.standard_normal((rows, columns)).astype(np.float32)
    field = _interpolation(side, rows) @ knots @ _interpolation(side, columns).T
    return field.astype(np.float32)


def _interpolation(side: int, knots: int) -> Plane:
    """The matrix (side × knots) that interpolates smoothly between neighbouring knots."""
    place = (np.arange(side) + 0.5) / side * (knots - 1)
    before = np.minimum(place.astype(int), knots - 2)
    part = place - before
    part = part * part * (3 - 2 * part)
    matrix = np.zeros((side, knots), np.float32)
    matrix[np.arange(side), before] = 1 - part
    matrix[np.arange(side), before + 1] = part
    return matrix


def window(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The bounding box of `inside`; most shapes are small, and the time is proportional to the area."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def cover(picture: Picture, colour: object, coverage: Plane) -> None:
    """Lay `colour` (one, or one per pixel) over `picture`, in place, where `coverage` is above 0."""
    part = window(coverage > 0)
    paint = np.asarray(colour, np.float32)
    paint = paint[part] if paint.ndim == 3 else paint
    picture[part] += coverage[part][..., None] * (paint - picture[part])


def coverage(distance: Plane, side: int) -> Plane:
    """The share of each pixel inside a shape: 1 where the signed `distance` is well below 0, 0 well above."""
    return np.clip(0.5 - distance * side, 0, 1).astype(np.float32)


def paint(random: np.random.Generator, side: int, light: Light) -> Picture:
    """A background under `light`; neither the draws from `random` nor the scene depend on `side`."""
    x, y = grid(side)
    horizon = random.uniform(0.32, 0.52)
    picture = _sky(random, side, x, y, horizon)
    _hills(random, side, x, y, horizon, picture)
    _ground(random, side, y, horizon, picture)
    for _ in range(random.integers(1, 4)):
        _plant(random, side, x, y, horizon, picture)
    for _ in range(random.integers(0, 4)):
        _stone(random, side, x, y, horizon, picture)
    picture *= np.asarray(light.colour, np.float32)
    picture += 0.012 * noise(random, side, 48, 48)[..., None]
    return picture


def _sky(random: np.random.Generator, side: int, x: Plane, y: Plane, horizon: float) -> Picture:
    top, low = (np.asarray(c, np.float32) for c in SKIES[random.integers(len(SKIES))])
    height = np.clip(y / horizon, 0, 1)[..., None]
    picture = (top + (low - top) * height).astype(np.float32)
    clouds = np.clip(noise(random, side, 7, 4) * 0.6 - random.uniform(-0.1, 0.8), 0, 1)
    cover(picture, (0.96, 0.95, 0.94), clouds * 0.8)
    if random.random() < 0.3:
        distance = np.hypot(x - random.uniform(0.1, 0.9), y - random.uniform(0.05, 0.2)) - random.uniform(0.03, 0.05)
        cover(picture, (1.0, 0.95, 0.76), 0.35 * np.exp(-np.maximum(distance, 0) / 0.08))
        cover(picture, (1.0, 0.97, 0.84), coverage(distance, side))
    return picture


def _hills(random: np.random.Generator, side: int, x: Plane, y: Plane, horizon: float, picture: Picture) -> None:
    for layer in range(2):
        base = np.asarray(HILLS[random.integers(len(HILLS))], np.float32)
        height, waves, shift = random.uniform(0.02, 0.14 - 0.05 * layer), random.uniform(0.6, 1.8), random.uniform(0, 7)
        ridge = (
            horizon - height * (0.5 + 0.5 * np.sin(2 * np.pi * waves * x + shift)) - 0.012 * np.sin(23 * x + 2 * shift)
        )
        haze = 0.35 - 0.2 * layer
        cover(picture, base * (1 - haze) + haze * 0.82, coverage((ridge - y).astype(np.float32), side))


def _ground(random: np.random.Generator, side: int, y: Plane, horizon: float, picture: Picture) -> None:
    far, near = (np.asarray(c, np.float32) for c in GROUNDS[random.integers(len(GROUNDS))])
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1)[..., None]
    colour = far + (near - far) * depth
    patches, blades = noise(random, side, 9, 5), noise(random, side, 40, 24)
    colour = colour * (1 + 0.10 * patches + 0.07 * blades)[..., None]
    cover(picture, colour, coverage((horizon - y).astype(np.float32), side))


def _plant(random: np.random.Generator, side: int, x: Plane, y: Plane, horizon: float, picture: Picture) -> None:
    """A tree or a bush, rooted at the horizon or a little nearer."""
    leaf = np.asarray(LEAVES[random.integers(len(LEAVES))], np.float32) * random.uniform(0.85, 1.2)
    root_x, root_y = random.uniform(0.0, 1.0), horizon + random.uniform(0.0, 0.10)
    size, stem = random.uniform(0.05, 0.11), random.uniform(0.06, 0.2) * (random.random() < 0.6)
    if stem:
        trunk = np.maximum(np.abs(x - root_x) - 0.012 - 0.08 * size, np.abs(y - root_y + stem / 2) - stem / 2)
        cover(picture, TRUNK, coverage(trunk, side))
    crown = np.full_like(x, np.inf)
    for dx, dy, radius in random.uniform((-1, -0.6, 0.5), (1, 0.4, 0.9), (6, 3)).astype(np.float32):
        blob = np.hypot((x - root_x - dx * size) / 1.15, y - root_y + stem + (0.5 - dy) * size) - radius * size
        crown = np.minimum(crown, blob)
    crown = crown + 0.012 * noise(random, side, 24, 24)
    lit = 1 + 1.6 * np.clip(root_y - stem - y, -0.1, 0.1)
    cover(picture, leaf * lit[..., None], coverage(crown, side))


def _stone(random: np.random.Generator, side: int, x: Plane, y: Plane, horizon: float, picture: Picture) -> None:
    colour = np.asarray(STONES[random.integers(len(STONES))], np.float32)
    at_x, at_y = random.uniform(0, 1), random.uniform(horizon + 0.05, 1.0)
    width = random.uniform(0.02, 0.05) * (0.6 + at_y)
    distance = width * (np.hypot((x - at_x) / width, (y - at_y) / (0.6 * width)) - 1)
    lit = 1 - 1.5 * np.clip((y - at_y) / width, -0.15, 0.15)
    cover(picture, colour * lit[..., None], coverage(distance.astype(np.float32), side))
