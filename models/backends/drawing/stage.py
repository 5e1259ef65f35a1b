"""What every scene works with: the canvas, the palette, the reading and the plan of the composition.

Invariant: all chance comes from the two generators of the stage, so a stage is decided by its seed alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import numpy as np

from models.backends.drawing.canvas import Array, Canvas
from models.backends.drawing.colours import RGB, mix
from models.backends.drawing.palette import Palette
from models.backends.drawing.words import Reading


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a subject may stand: its foot, the height of a person there, and what it is seen against."""

    x: float
    y: float
    size: float
    ink: RGB
    behind: RGB
    #: Whether it stands on water, on a table top, in open air or on the ground.
    on: str = "ground"


@dataclass(slots=True)
class Stage:
    """One picture in the making."""

    canvas: Canvas
    palette: Palette
    reading: Reading
    place: str
    rnd: Random
    gen: np.random.Generator
    #: Row of the horizon.
    horizon: float
    #: Column of the subject, and the side (-1 left, 1 right) it stands on.
    focus: float
    side: int
    #: Sun or moon: (x, y, radius); radius 0 when there is none.
    disc: tuple[float, float, float] = (0.0, 0.0, 0.0)
    #: Subjects a scene has drawn by itself.
    drawn: set[str] = field(default_factory=set)

    @property
    def w(self) -> int:
        """Width of the picture."""
        return self.canvas.w

    @property
    def h(self) -> int:
        """Height of the picture."""
        return self.canvas.h

    @property
    def u(self) -> float:
        """What shapes are scaled by: the shorter side."""
        return self.canvas.unit

    @property
    def night(self) -> float:
        """How dark the hour is, 0 to 1."""
        return self.palette.light.night

    @property
    def small(self) -> bool:
        """Too small for fine detail."""
        return self.canvas.unit < 110

    def flat(self, y: float) -> Array:
        """A level line."""
        return np.full(self.w, np.float32(y))

    def count(self, number: float, spread: float = 1.0) -> int:
        """A number of things for a square picture, adapted to small and to wide ones."""
        thin = min(1.0, math.pow(self.u / 420, 0.7))
        wide = self.w / self.u
        return max(1, round(number * thin * (1 + (wide - 1) * spread)))

    def chance(self, share: float) -> bool:
        """True that often."""
        return self.rnd.random() < share

    def haze(self, colour: RGB, share: float) -> RGB:
        """The colour seen through that much air."""
        return mix(colour, self.palette.horizon, share)

    def height_at(self, line: Array, x: float) -> float:
        """The height of a line at a column, also beyond the edges."""
        return float(line[min(max(int(x), 0), self.w - 1)])
