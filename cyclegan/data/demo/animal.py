"""One demo animal, drawn twice: in a plain brown coat, and in a striped one.

The animal is a handful of rounded parts. Each part has a frame of its own, in which the stripes are counted from a
visible landmark: from the rump forward along the trunk, on along the neck and the head, and from the hoof up each leg.
Nothing about the stripes is random. So the striped picture is a function of the plain one, and a translation can be
scored pixel by pixel, which no pair of photographs allows.

Lengths are in widths of the picture; y points downwards; the frame of the animal faces right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclegan.data.demo.scenery import Light, Picture, Plane, cover, coverage, grid, paint, window

SUPERSAMPLING = 2  # each pixel is the mean of 2 × 2 subpixels with soft edges, so that outlines have no steps

SHARPNESS = 1.6  # of the transitions: 0 would be a sine wave, large values a step
DARK, PALE = (0.13, 0.11, 0.11), (0.93, 0.91, 0.87)
HOOF, EYE = (0.16, 0.13, 0.12), (0.07, 0.05, 0.05)

# Stripes per unit of length. A phase is in periods; 0 is the middle of a dark stripe.
STRIPES_OF_TRUNK = 5.2  # not quite three on a trunk of length 0.5, so one is 12 px wide at 64 px: dark half, light half
STRIPES_OF_NECK = 5.2
STRIPES_OF_LEG = 6.0
CHESTNUT, DUN = (0.54, 0.31, 0.17), (0.58, 0.46, 0.29)  # browns half as bright as the pale stripes


@dataclass(frozen=True)
class Bone:
    """A tapered, rounded part from (x0, y0) with radius `r0` to (x1, y1) with radius `r1`."""

    x0: float
    y0: float
    x1: float
    y1: float
    r0: float
    r1: float

    @property
    def length(self) -> float:
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    def distance(self, x: Plane, y: Plane) -> Plane:
        """The signed distance to its outline, negative inside."""
        along = np.clip(self.along(x, y) / self.length, 0, 1)
        dx, dy = x - self.x0 - along * (self.x1 - self.x0), y - self.y0 - along * (self.y1 - self.y0)
        return (np.hypot(dx, dy) - self.r0 - along * (self.r1 - self.r0)).astype(np.float32)

    def along(self, x: Plane, y: Plane) -> Plane:
        """The position along its axis, from the first joint."""
        ux, uy = (self.x1 - self.x0) / self.length, (self.y1 - self.y0) / self.length
        return ((x - self.x0) * ux + (y - self.y0) * uy).astype(np.float32)


@dataclass(frozen=True)
class Leg:
    """Hip or shoulder to knee to hoof."""

    upper: Bone
    lower: Bone

    @classmethod
    def standing(cls, x: float, top: float, length: float, swing: float, thickness: float) -> Leg:
        """A leg hung at (x, top), its hoof `swing` further forward; behind, it bends the knee."""
        bend = 0.35 * swing + 0.25 * max(-swing, 0.0)
        knee = (x + bend, top + 0.52 * length)
        hoof = (x + swing, top + length - 0.25 * abs(swing))
        return cls(
            Bone(x, top, *knee, thickness, 0.66 * thickness), Bone(*knee, *hoof, 0.66 * thickness, 0.58 * thickness)
        )

    def distance(self, x: Plane, y: Plane) -> Plane:
        """The signed distance to its outline, negative inside."""
        return blend(self.upper.distance(x, y), self.lower.distance(x, y), 0.02)

    def phase(self, x: Plane, y: Plane) -> Plane:
        """The phase of its stripes, upwards from the hoof."""
        return ((self.lower.y1 - y) * STRIPES_OF_LEG).astype(np.float32)


def blend(first: Plane, second: Plane, width: float) -> Plane:
    """The union of two shapes, its inner corners rounded over `width` (a polynomial smooth minimum)."""
    near = np.clip(width - np.abs(first - second), 0, None)
    return (np.minimum(first, second) - near * near / (4 * width)).astype(np.float32)


@dataclass(frozen=True)
class Animal:
    """The variable properties of one animal, in its own frame and in the picture."""

    trunk: Bone
    neck: Bone
    head: Bone
    near_legs: tuple[Leg, Leg]
    far_legs: tuple[Leg, Leg]
    ear: Bone
    tail: Bone
    coat: tuple[float, float, float]
    centre: tuple[float, float]
    scale: float
    tilt: float
    facing: int

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Animal:
        """An animal of random shape, pose, place and brown."""
        stout, rise = random.uniform(0.92, 1.08), random.uniform(-0.01, 0.01)
        trunk = Bone(-0.125, rise, 0.125, -rise, 0.125 * stout, 0.122 * stout)
        lift = random.uniform(-0.16, 0.2)  # of the neck, in radians
        angle, length = -0.98 - lift, random.uniform(0.2, 0.225)
        poll = (0.165 + length * np.cos(angle), -0.055 + length * np.sin(angle))
        neck = Bone(0.165, -0.055, *poll, 0.088 * stout, 0.058)
        nod = angle + 1.62 + random.uniform(-0.12, 0.12)
        muzzle = (poll[0] + 0.135 * np.cos(nod), poll[1] + 0.135 * np.sin(nod))
        head = Bone(*poll, *muzzle, 0.062, 0.042)
        length, thick = random.uniform(0.245, 0.275), random.uniform(0.05, 0.056)
        stride = random.uniform(-0.05, 0.05)
        swings = stride * np.asarray((1.0, -1.0, -1.0, 1.0)) + random.uniform(-0.012, 0.012, 4)
        hips = (-0.165, 0.15, -0.105, 0.2)
        legs = [Leg.standing(hip, 0.055, length, float(swing), thick) for hip, swing in zip(hips, swings, strict=True)]
        ear_angle = angle + random.uniform(-0.1, 0.2)
        ear_root = (poll[0] - 0.02, poll[1] - 0.03)
        ear = Bone(
            *ear_root, ear_root[0] + 0.06 * np.cos(ear_angle), ear_root[1] + 0.06 * np.sin(ear_angle), 0.024, 0.012
        )
        droop = random.uniform(0.5, 1.1)
        root = (-0.23, -0.035)
        tail = Bone(*root, root[0] - 0.17 * np.cos(droop), root[1] + 0.17 * np.sin(droop), 0.016, 0.03)
        chestnut, dun, hue = np.asarray(CHESTNUT), np.asarray(DUN), random.uniform(0, 1)
        red, green, blue = (float(c) for c in random.uniform(0.9, 1.12) * (chestnut + hue * (dun - chestnut)))
        facing = int(random.choice((-1, 1)))
        return cls(
            trunk=trunk,
            neck=neck,
            head=head,
            near_legs=(legs[0], legs[1]),
            far_legs=(legs[2], legs[3]),
            ear=ear,
            tail=tail,
            coat=(red, green, blue),
            # Heads reach further than tails, so the trunk is centred behind the middle of the picture
            centre=(0.5 - 0.055 * facing + random.uniform(-0.03, 0.03), 0.54 + random.uniform(-0.035, 0.035)),
            scale=random.uniform(1.08, 1.22),
            tilt=random.uniform(-0.07, 0.07),
            facing=facing,
        )

    def frame(self, side: int) -> tuple[Plane, Plane]:
        """The pixel centres of a picture in the frame of the animal."""
        x, y = grid(side)
        x, y = (x - self.centre[0]) * self.facing / self.scale, (y - self.centre[1]) / self.scale
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        return cos * x + sin * y, cos * y - sin * x


def trunk_phase(animal: Animal, x: Plane, y: Plane) -> Plane:
    """The phase from the rump, whose outermost quarter period is dark; stripes lean a little, as a zebra's do."""
    trunk = animal.trunk
    return (trunk.along(x, y) + trunk.r0 - 0.10 * (y - trunk.y0)) * np.float32(STRIPES_OF_TRUNK)


def neck_phase(animal: Animal, x: Plane, y: Plane) -> Plane:
    """The phase along the neck, continued from the trunk at its root."""
    neck, trunk = animal.neck, animal.trunk
    root = (neck.x0 - trunk.x0 + trunk.r0) * STRIPES_OF_TRUNK
    return root + neck.along(x, y) * np.float32(STRIPES_OF_NECK)


def head_phase(animal: Animal, x: Plane, y: Plane) -> Plane:
    """The phase along the head, continued from the neck."""
    neck, trunk = animal.neck, animal.trunk
    poll = (neck.x0 - trunk.x0 + trunk.r0) * STRIPES_OF_TRUNK + neck.length * STRIPES_OF_NECK
    return poll + animal.head.along(x, y) * np.float32(STRIPES_OF_NECK)


@dataclass(frozen=True)
class Pair:
    """One scene with a plain and with a striped animal, uint8 HWC RGB, and the mask of the coat.

    `coat` is uint8 HW: 255 where the whole pixel is coat, 0 where none of it is, between them at the outline. Where it
    is 0 (the background, and the animal's hooves and eye) the two pictures are the same to the last bit.
    """

    plain: NDArray[np.uint8]
    striped: NDArray[np.uint8]
    coat: NDArray[np.uint8]


def draw(random: np.random.Generator, size: int) -> Pair:
    """Draw a scene of `size` × `size` pixels; equal states of `random` give the same scene at every size."""
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
    """The two pictures in the making, and the share of coat in each pixel."""

    animal: Animal
    light: Light
    plain: Picture
    striped: Picture
    coat: Plane

    def fur(self, distance: Plane, phase: Plane, shade: float = 1.0) -> None:
        """Paint a part with the outline `distance` and stripes of `phase`."""
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
        """Paint a part that is the same in both domains."""
        inside = coverage(distance, len(distance))
        lit = np.asarray(colour, np.float32) * np.asarray(self.light.colour, np.float32)
        cover(self.plain, lit, inside)
        cover(self.striped, lit, inside)
        self.coat[...] *= 1 - inside

    def _shading(self, distance: Plane, side: int) -> Plane:
        """Shading of a rounded body that curves away at its outline, brighter towards the light."""
        slope_y, slope_x = np.gradient(distance * side) if min(distance.shape) > 1 else (distance, distance)
        facing = slope_x * self.light.direction[0] + slope_y * self.light.direction[1]
        rim = np.clip(1 + distance / 0.09, 0, 1)
        return (1 + 0.15 * facing * rim).astype(np.float32)


def _mixed(distances: list[Plane], phases: list[Plane]) -> Plane:
    """One phase for the whole outline: that of each part inside it, blended where parts meet."""
    favour = (0.0, -0.012, -0.012, 0.018, 0.018)  # the trunk wins over legs, neck and head over the trunk
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
