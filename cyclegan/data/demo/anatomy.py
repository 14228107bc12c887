"""The body of a demo animal, and how its stripes are counted.

The animal is a handful of rounded parts. Each part has a frame of its own, and the stripes are counted in that frame
from a landmark that can be seen: from the rump forward along the trunk, on along the neck and the head, and from the
hoof up each leg. Nothing about the stripes is drawn by lot. So the striped picture is a function of the plain one,
and a translator can be marked pixel by pixel, which no pair of photographs allows.

Lengths are in widths of the picture; y points downwards; the frame of the animal faces right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclegan.data.demo.scenery import Plane, grid

# Per part: stripes per unit of length, and which phase (in periods) its landmark has. 0 is the middle of a dark one.
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
        """From joint to joint."""
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    def distance(self, x: Plane, y: Plane) -> Plane:
        """To its outline: negative inside."""
        along = np.clip(self.along(x, y) / self.length, 0, 1)
        dx, dy = x - self.x0 - along * (self.x1 - self.x0), y - self.y0 - along * (self.y1 - self.y0)
        return (np.hypot(dx, dy) - self.r0 - along * (self.r1 - self.r0)).astype(np.float32)

    def along(self, x: Plane, y: Plane) -> Plane:
        """How far along its axis a point lies, from the first joint; below 0 behind it."""
        ux, uy = (self.x1 - self.x0) / self.length, (self.y1 - self.y0) / self.length
        return ((x - self.x0) * ux + (y - self.y0) * uy).astype(np.float32)


@dataclass(frozen=True)
class Leg:
    """Hip or shoulder to knee to hoof."""

    upper: Bone
    lower: Bone

    @classmethod
    def standing(cls, x: float, top: float, length: float, swing: float, thickness: float) -> Leg:
        """A leg hung at (x, top) whose hoof has swung forward by `swing`; a hoof behind bends the knee a little."""
        bend = 0.35 * swing + 0.25 * max(-swing, 0.0)
        knee = (x + bend, top + 0.52 * length)
        hoof = (x + swing, top + length - 0.25 * abs(swing))
        return cls(
            Bone(x, top, *knee, thickness, 0.66 * thickness), Bone(*knee, *hoof, 0.66 * thickness, 0.58 * thickness)
        )

    def distance(self, x: Plane, y: Plane) -> Plane:
        """To its outline: negative inside."""
        return blend(self.upper.distance(x, y), self.lower.distance(x, y), 0.02)

    def phase(self, x: Plane, y: Plane) -> Plane:
        """In periods, counted upwards from the hoof."""
        return ((self.lower.y1 - y) * STRIPES_OF_LEG).astype(np.float32)


def blend(first: Plane, second: Plane, width: float) -> Plane:
    """The union of two shapes, its inner corners rounded over `width` (a polynomial smooth minimum)."""
    near = np.clip(width - np.abs(first - second), 0, None)
    return (np.minimum(first, second) - near * near / (4 * width)).astype(np.float32)


@dataclass(frozen=True)
class Animal:
    """Everything about one animal that can differ, in its own frame and in the picture."""

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
        """A shape, a pose, a place and a brown."""
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
            # Heads reach further than tails: the middle of the trunk stands behind the middle of the picture
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
    """In periods, from the rump, whose outermost quarter period is dark; the stripes lean a little, as a zebra's do."""
    trunk = animal.trunk
    return (trunk.along(x, y) + trunk.r0 - 0.10 * (y - trunk.y0)) * np.float32(STRIPES_OF_TRUNK)


def neck_phase(animal: Animal, x: Plane, y: Plane) -> Plane:
    """In periods, going on from where the trunk is at the root of the neck."""
    neck, trunk = animal.neck, animal.trunk
    root = (neck.x0 - trunk.x0 + trunk.r0) * STRIPES_OF_TRUNK
    return root + neck.along(x, y) * np.float32(STRIPES_OF_NECK)


def head_phase(animal: Animal, x: Plane, y: Plane) -> Plane:
    """In periods, going on from the neck, to the muzzle."""
    neck, trunk = animal.neck, animal.trunk
    poll = (neck.x0 - trunk.x0 + trunk.r0) * STRIPES_OF_TRUNK + neck.length * STRIPES_OF_NECK
    return poll + animal.head.along(x, y) * np.float32(STRIPES_OF_NECK)
