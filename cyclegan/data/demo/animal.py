"""One demo animal, drawn twice: in a plain brown coat, and in a striped one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclegan.data.demo.anatomy import STRIPES_OF_NECK, Animal, Bone, Leg, blend, head_phase, neck_phase, trunk_phase
from cyclegan.data.demo.scenery import Light, Picture, Plane, cover, coverage, paint, window

SUPERSAMPLING = 2  # each pixel is the mean of 2 × 2 whose edges are already soft: no steps in an outline

SHARPNESS = 1.6  # of the transitions: 0 would be a sine wave, large values a step
DARK, PALE = (0.13, 0.11, 0.11), (0.93, 0.91, 0.87)
HOOF, EYE = (0.16, 0.13, 0.12), (0.07, 0.05, 0.05)


@dataclass(frozen=True)
class Pair:
    """The same scene with a plain and with a striped animal, uint8 HWC RGB, and where its coat is.

    `coat` is uint8 HW: 255 where the whole pixel is coat, 0 where none of it is, between them at the outline. Where it
    is 0 (the place, and the animal's hooves and eye) the two pictures are the same to the last bit.
    """

    plain: NDArray[np.uint8]
    striped: NDArray[np.uint8]
    coat: NDArray[np.uint8]


def draw(random: np.random.Generator, size: int) -> Pair:
    """One scene of `size` × `size` pixels; the same draws of `random` give the same scene at every size."""
    side = size * SUPERSAMPLING
    light = Light.drawn(random)
    plain = paint(random, side, light)
    animal = Animal.drawn(random)
    x, y = animal.frame(side)
    _shadow(animal, x, y, plain)
    striped = plain.copy()
    coat = np.zeros((side, side), np.float32)
    canvas = _Canvas(animal, light, plain, striped, coat)

    for leg in animal.far_legs:
        canvas.fur(leg.distance(x, y), leg.phase(x, y), shade=0.78)
        canvas.solid(_hoof(leg, x, y), HOOF)
    tail = animal.tail
    canvas.fur(tail.distance(x, y), tail.along(x, y) * STRIPES_OF_NECK * 1.4, shade=0.8)
    neck, head = animal.neck, animal.head
    mane = Bone(neck.x0 - 0.03, neck.y0 - 0.075, neck.x1 - 0.03, neck.y1 - 0.035, 0.04, 0.042)
    along_neck = neck_phase(animal, x, y)
    canvas.fur(mane.distance(x, y), along_neck, shade=0.72)

    parts = [part.distance(x, y) for part in (animal.trunk, neck, head, *animal.near_legs)]
    phases = [trunk_phase(animal, x, y), along_neck, head_phase(animal, x, y)]
    phases += [leg.phase(x, y) for leg in animal.near_legs]
    outline = parts[0]
    for part, width in zip(parts[1:], (0.07, 0.03, 0.05, 0.05), strict=True):
        outline = blend(outline, part, width)
    canvas.fur(outline, _mixed(parts, phases))
    canvas.fur(animal.ear.distance(x, y), along_neck, shade=0.9)
    for leg in animal.near_legs:
        canvas.solid(_hoof(leg, x, y), HOOF)
    eye_x, eye_y = head.x0 + 0.3 * (head.x1 - head.x0), head.y0 + 0.3 * (head.y1 - head.y0) - 0.012
    canvas.solid((np.hypot(x - eye_x, y - eye_y) - 0.0125).astype(np.float32), EYE)
    return Pair(_pixels(plain, size), _pixels(striped, size), np.ceil(_shrunk(coat, size) * 255).astype(np.uint8))


@dataclass(frozen=True)
class _Canvas:
    """The two pictures that grow side by side, and how much of each pixel is coat."""

    animal: Animal
    light: Light
    plain: Picture
    striped: Picture
    coat: Plane

    def fur(self, distance: Plane, phase: Plane, shade: float = 1.0) -> None:
        """Lay a part with the outline `distance` and stripes of `phase` over what is there."""
        side = len(distance)
        part = window(distance * side < 2)
        distance, phase = distance[part], phase[part]
        inside = coverage(distance, side)
        lit = (shade * self._shading(distance, side))[..., None] * np.asarray(self.light.colour, np.float32)
        wave = SHARPNESS * np.cos(2 * np.pi * phase)
        pale = 0.5 - 0.5 * wave / np.sqrt(1 + wave * wave) * np.sqrt(1 + SHARPNESS**-2)
        dark, bright = np.asarray(DARK, np.float32), np.asarray(PALE, np.float32)
        cover(self.plain[part], lit * np.asarray(self.animal.coat, np.float32), inside)
        cover(self.striped[part], lit * (dark + pale[..., None] * (bright - dark)), inside)
        self.coat[part] += inside * (1 - self.coat[part])

    def solid(self, distance: Plane, colour: tuple[float, float, float]) -> None:
        """Lay a part that is the same in both domains over what is there."""
        inside = coverage(distance, len(distance))
        lit = np.asarray(colour, np.float32) * np.asarray(self.light.colour, np.float32)
        cover(self.plain, lit, inside)
        cover(self.striped, lit, inside)
        self.coat[...] *= 1 - inside

    def _shading(self, distance: Plane, side: int) -> Plane:
        """Brighter towards the light: the part is taken for a rounded body that falls off at its outline."""
        slope_y, slope_x = np.gradient(distance * side) if min(distance.shape) > 1 else (distance, distance)
        facing = slope_x * self.light.direction[0] + slope_y * self.light.direction[1]
        rim = np.clip(1 + distance / 0.09, 0, 1)
        return (1 + 0.15 * facing * rim).astype(np.float32)


def _mixed(distances: list[Plane], phases: list[Plane]) -> Plane:
    """One phase for the whole outline: each part's own deep inside it, passing over smoothly where parts meet."""
    favour = (0.0, -0.012, -0.012, 0.018, 0.018)  # legs yield to the trunk, neck and head come before it
    weights = [np.exp(-(d + f) / 0.012) for d, f in zip(distances, favour, strict=True)]
    total = np.maximum(sum(weights), 1e-30)
    mixed = sum(weight * phase for weight, phase in zip(weights, phases, strict=True))
    return (mixed / total).astype(np.float32)


def _hoof(leg: Leg, x: Plane, y: Plane) -> Plane:
    distance = leg.lower.distance(x, y)
    return np.maximum(distance - 0.003, leg.lower.length - 0.006 - leg.lower.along(x, y)).astype(np.float32)


def _shadow(animal: Animal, x: Plane, y: Plane, picture: Picture) -> None:
    ground = max(leg.lower.y1 + leg.lower.r1 for leg in (*animal.near_legs, *animal.far_legs))
    reach = np.hypot((x - 0.02) / 0.3, (y - ground) / 0.045)
    cover(picture, (0.10, 0.10, 0.12), (0.45 * np.clip(1.3 - reach, 0, 0.7) / 0.7).astype(np.float32))


def _shrunk(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    blocks = plane.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, *plane.shape[2:])
    return blocks.mean(axis=(1, 3))


def _pixels(picture: Picture, size: int) -> NDArray[np.uint8]:
    return np.round(np.clip(_shrunk(picture, size), 0, 1) * 255).astype(np.uint8)
