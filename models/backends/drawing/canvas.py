"""The sheet a picture is drawn on: antialiased fills of ridges, shapes, dots and glows on one RGB image.

Invariant: everything is clipped to the sheet, so a scene may draw anywhere; nothing outside the sheet is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from models.backends.drawing.colours import RGB, mix

Array = npt.NDArray[np.float32]
Points = Sequence[tuple[float, float]]


def sheet(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """An image of an array of rows, grey or RGB; quicker than Pillow's own way for small ones."""
    size = (pixels.shape[1], pixels.shape[0])
    return Image.frombytes("L" if pixels.ndim == 2 else "RGB", size, pixels.tobytes())


def average(image: Image.Image) -> RGB:
    """The mean colour of an image."""
    red, green, blue = np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0].tolist()
    return red, green, blue


class Pen:
    """Draws shapes in picture coordinates into one coverage mask, finer than the picture."""

    def __init__(self, box: tuple[int, int, int, int], fine: int) -> None:
        self.box = box
        self.fine = fine
        self.x0, self.y0 = box[0], box[1]
        self.mask = Image.new("L", ((box[2] - box[0]) * fine, (box[3] - box[1]) * fine), 0)
        self._draw = ImageDraw.Draw(self.mask)

    def polygon(self, points: Points | Array, ink: int = 255) -> None:
        """A filled outline."""
        fine, x0, y0 = self.fine, self.x0, self.y0
        self._draw.polygon([((float(x) - x0) * fine, (float(y) - y0) * fine) for x, y in points], fill=ink)

    def ellipse(self, x: float, y: float, rx: float, ry: float, ink: int = 255) -> None:
        """A filled ellipse around a point."""
        fine = self.fine
        left, top = (x - rx - self.x0) * fine, (y - ry - self.y0) * fine
        self._draw.ellipse((left, top, left + max(2 * rx * fine - 1, 0), top + max(2 * ry * fine - 1, 0)), fill=ink)

    def rectangle(self, left: float, top: float, right: float, bottom: float, ink: int = 255) -> None:
        """A filled box."""
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), ink)

    def stroke(self, points: Sequence[tuple[float, float, float]], ink: int = 255) -> None:
        """A limb: a line through (x, y, radius), round at every joint."""
        for one, two in pairwise(points):
            (ax, ay, ar), (bx, by, br) = one, two
            length = math.hypot(bx - ax, by - ay)
            if length > 1e-6:
                nx, ny = (ay - by) / length, (bx - ax) / length
                corners = (ax + nx * ar, ay + ny * ar), (bx + nx * br, by + ny * br)
                self.polygon((*corners, (bx - nx * br, by - ny * br), (ax - nx * ar, ay - ny * ar)), ink)
        for x, y, r in points:
            if r * self.fine >= 0.7:
                self.ellipse(x, y, r, r, ink)


class Canvas:
    """One picture being drawn, with its measures: ``unit`` is what shapes are scaled by."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height))
        self.w, self.h = width, height
        self.unit = float(min(width, height))
        self.fine = 4 if width * height <= 1 << 18 else 3
        self.x = np.arange(width, dtype=np.float32)

    def clip(self, left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int] | None:
        """The part of a box on the sheet in whole pixels, or None."""
        x0, y0 = max(math.floor(left), 0), max(math.floor(top), 0)
        x1, y1 = min(math.ceil(right), self.w), min(math.ceil(bottom), self.h)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def column(self, rows: int, stops: Sequence[tuple[float, RGB]]) -> npt.NDArray[np.uint8]:
        """A vertical gradient of that many rows through (position 0..1, colour)."""
        if len(stops) == 1 or rows == 1:
            return np.full((rows, 3), stops[0][1], np.uint8)
        places, values = [], []
        for (pa, ca), (pb, cb) in pairwise(stops):
            for step in (0.0, 0.25, 0.5, 0.75) if rows > 24 else (0.0,):
                places.append(pa + (pb - pa) * step)
                values.append(mix(ca, cb, step) if step else ca)
        places.append(stops[-1][0])
        values.append(stops[-1][1])
        where = (np.arange(rows, dtype=np.float64) + 0.5) / rows
        table = np.empty((rows, 3), np.uint8)
        for i in range(3):
            table[:, i] = np.interp(where, places, [value[i] for value in values]) + 0.5
        return table

    def gradient(self, top: float, bottom: float, *stops: tuple[float, RGB]) -> None:
        """Fill whole rows with a vertical gradient."""
        box = self.clip(0, top, self.w, bottom)
        if box:
            rows = self.column(max(1, math.ceil(bottom) - math.floor(top)), stops)
            start = box[1] - math.floor(top)
            rows = rows[start : start + box[3] - box[1]]
            strip = sheet(rows.reshape(-1, 1, 3))
            self.image.paste(strip.resize((self.w, len(rows)), Image.Resampling.NEAREST), (0, box[1]))

    def ridge(
        self,
        line: Array,
        top: RGB,
        foot: RGB | None = None,
        *,
        reach: float = 0.0,
        bottom: float | None = None,
        fade: tuple[float, float] | None = None,
    ) -> None:
        """Fill from a line of heights down: ``top`` at its highest, ``foot`` ``reach`` pixels below.

        ``fade`` gives the opacity at the highest point and at ``bottom``.
        """
        end = self.h if bottom is None else min(math.ceil(bottom), self.h)
        high, low = float(line.min()), float(line.max())
        start = max(math.floor(high) - 1, 0)
        if start >= end:
            return
        edge = min(max(math.ceil(low) + 2, start), end) if fade is None else end
        if foot is None:
            fill = np.full((end - start, 3), top, np.uint8)
        else:
            rows = self.column(max(2, round(reach) or 2), ((0.0, top), (1.0, foot)))
            skip = start - math.floor(high)
            at = np.arange(skip, skip + end - start)
            fill = rows[np.minimum(at, len(rows) - 1, out=at)]
        strip = sheet(fill.reshape(-1, 1, 3)).resize((self.w, end - start), Image.Resampling.NEAREST)
        if edge > start:
            cover = self._cover(line, start, edge)
            if fade is not None:
                cover *= np.linspace(fade[0], fade[1], edge - start, dtype=np.float32)[:, None]
            mask = sheet(cover.astype(np.uint8))
            self.image.paste(strip if edge == end else strip.crop((0, 0, self.w, edge - start)), (0, start), mask)
        if end > edge:
            self.image.paste(strip.crop((0, edge - start, self.w, end - start)), (0, edge))

    def _cover(self, line: Array, start: int, edge: int) -> Array:
        step = np.zeros(len(line) + 1, np.float32)
        step[1:-1] = np.abs(line[1:] - line[:-1])
        slope = np.minimum(np.minimum(step[1:], step[:-1]), 6)
        sharp = np.float32(255) / np.sqrt(1 + slope**2, dtype=np.float32)
        rows = np.arange(start, edge, dtype=np.float32)[:, None]
        cover: Array = (rows - (line - 0.5)) * sharp
        cover += np.float32(127.5)
        np.minimum(cover, 255, out=cover)
        return np.maximum(cover, 0, out=cover)

    def ceiling(self, line: Array, colour: RGB) -> None:
        """Fill everything above a line of heights."""
        low = min(math.ceil(float(line.max())) + 2, self.h)
        if low <= 0:
            return
        mask = sheet((255 - self._cover(line, 0, low)).astype(np.uint8))
        self.image.paste(colour, (0, 0), mask)

    def pen(self, left: float, top: float, right: float, bottom: float) -> Pen | None:
        """A pen for a part of the sheet; None where that part lies outside."""
        box = self.clip(left, top, right, bottom)
        return Pen(box, self.fine) if box else None

    def ink(
        self, pen: Pen, colour: RGB, foot: RGB | None = None, *, alpha: float = 1.0, within: Pen | None = None
    ) -> None:
        """Fill what a pen drew (inside what another drew) with a colour, or a vertical gradient over its box."""
        mask = pen.mask.reduce(pen.fine)
        if within:
            mask = ImageChops.multiply(mask, within.mask.reduce(within.fine))
        if alpha < 1:
            mask = mask.point([round(i * alpha) for i in range(256)])
        if foot is None:
            self.image.paste(colour, pen.box[:2], mask)
            return
        rows = self.column(mask.height, ((0.0, colour), (1.0, foot)))
        strip = sheet(rows.reshape(-1, 1, 3)).resize(mask.size, Image.Resampling.NEAREST)
        self.image.paste(strip, pen.box[:2], mask)

    def disc(self, x: float, y: float, r: float, colour: RGB, foot: RGB | None = None, *, alpha: float = 1.0) -> None:
        """A filled circle."""
        pen = self.pen(x - r - 1, y - r - 1, x + r + 1, y + r + 1)
        if pen:
            pen.ellipse(x, y, r, r)
            self.ink(pen, colour, foot, alpha=alpha)

    def glow(self, x: float, y: float, rx: float, colour: RGB, alpha: float, *, ry: float = 0.0) -> None:
        """A soft round light, brightest in the middle."""
        ry = ry or rx
        box = self.clip(x - rx, y - ry, x + rx, y + ry)
        if not box:
            return
        size = max(8, min(96, int(rx / 3)))
        across = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        away = across[None, :] ** 2 + across[:, None] ** 2
        cover = np.clip(1 - away, 0, 1) ** 2 * (alpha * 255 / (1 + 2.2 * away))
        small = sheet((cover + 0.5).astype(np.uint8))
        scale_x, scale_y = size / (2 * rx), size / (2 * ry)
        part = tuple(((v - o) * s) for v, o, s in zip(box, (x - rx, y - ry) * 2, (scale_x, scale_y) * 2, strict=True))
        part = (max(part[0], 0.0), max(part[1], 0.0), min(part[2], float(size)), min(part[3], float(size)))
        mask = small.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR, box=part)
        self.image.paste(colour, box[:2], mask)

    def veil(self, small: Array, box: tuple[float, float, float, float], colour: RGB) -> None:
        """Lay a colour over a box with a coarse opacity map (0..1), smoothly enlarged."""
        clipped = self.clip(*box)
        if not clipped:
            return
        tiny = sheet((np.minimum(np.maximum(small, 0), 1) * 255 + 0.5).astype(np.uint8))
        mask = tiny.resize((clipped[2] - clipped[0], clipped[3] - clipped[1]), Image.Resampling.BICUBIC)
        self.image.paste(colour, clipped[:2], mask)

    def dots(self, x: Array, y: Array, r: Array, alpha: Array, colour: RGB) -> None:
        """Many small round dots at once."""
        if not len(x):
            return
        box = self.clip(0, float((y - r).min()) - 1, self.w, float((y + r).max()) + 1)
        if not box:
            return
        mask = np.zeros((box[3] - box[1], self.w), np.float32)
        reach = math.ceil(float(r.max()) + 0.5)
        cx, cy = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                px, py = cx + dx, cy + dy
                away = np.sqrt((px + 0.5 - x) ** 2 + (py + 0.5 - y) ** 2)
                cover = np.clip(r + 0.5 - away, 0, 1) * np.minimum(alpha, 1)
                keep = (cover > 0.01) & (px >= 0) & (px < self.w) & (py >= box[1]) & (py < box[3])
                rows, cols = py[keep] - box[1], px[keep]
                mask[rows, cols] = np.maximum(mask[rows, cols], cover[keep])
        self.image.paste(colour, (0, box[1]), sheet((mask * 255).astype(np.uint8)))
