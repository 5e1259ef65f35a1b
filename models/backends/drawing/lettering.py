"""The title in a lower corner and the DRAFT mark, in Pillow's own typeface.

Invariant: lettering never fails and never hides the picture; characters the typeface lacks are left out.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.backends.drawing.canvas import average
from models.backends.drawing.colours import RGB, mix, to_lab, tone
from models.backends.drawing.stage import Stage

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
#: Left, top, right, bottom in pixels.
Box = tuple[int, int, int, int]
_SMALLEST = 150
_PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u00a0": " "}
)


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=2048)
def _known(letter: str) -> bool:
    font = _font(20)
    if letter == " ":
        return True
    if not letter.isprintable():
        return False
    missing = font.getmask("\uffff")
    shape = font.getmask(letter)
    return shape.size != missing.size or bytes(shape) != bytes(missing)


def legible(text: str) -> str:
    """The text with only characters the typeface has; accents are dropped before letters are."""
    kept = []
    for letter in text.translate(_PLAIN)[:600]:
        if _known(letter):
            kept.append(letter)
        else:
            kept.extend(c for c in unicodedata.normalize("NFKD", letter) if c.isascii() and c.isprintable())
    return " ".join("".join(kept).split())


def title_of(title: str, prompt: str) -> str:
    """What to letter: the title, else the first clause of the prompt."""
    text = legible(title)
    # Of a title in another script only its comma may be left.
    if any(char.isalnum() for char in text):
        return text
    clause = legible(prompt[:400])
    for mark in (",", ".", ";", ":"):
        clause = clause.partition(mark)[0]
    return clause.strip()


def _width(font: Font, text: str, track: float) -> float:
    return font.getlength(text) + track * max(len(text) - 1, 0)


def _wrap(font: Font, text: str, room: float, lines: int) -> list[str]:
    """Break a text into at most that many lines; what does not fit ends in an ellipsis."""
    found: list[str] = []
    line = ""
    words = text.split()
    for at, word in enumerate(words):
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= room:
            line = longer
            continue
        if len(found) == lines - 1 or not line:
            line = longer
            words = words[at + 1 :]
            break
        found.append(line)
        line = word
    while line and font.getlength(line) > room:
        line = line.rstrip("….")[:-1].rstrip() + "…"
    return [*found, line] if line.strip("…") else found


def letter(stage: Stage, image: Image.Image, title: str) -> list[Box]:
    """Set the title at lower left and the mark at upper right; answers the foot and the corner they stand in."""
    width, height = image.size
    if min(width, height) < _SMALLEST:
        return []
    unit = min(stage.u, width, height)
    margin = round(unit * 0.045)
    size = max(11, round(unit * 0.030))
    font = _font(size)
    room = min(width - 2 * margin, unit * 0.62)
    lines = _wrap(font, title, room, 2)
    leading = round(size * 1.32)
    foot = height - margin
    top = foot - leading * len(lines)
    taken: list[Box] = []
    if lines:
        wide = max(font.getlength(line) for line in lines)
        ink, shade = _ink(image, (margin, top, round(margin + wide), foot))
        if shade:
            _shade(image, (0, top - leading * 3, width, height), shade[0], shade[1])
        _rule(image, margin, top - round(size * 0.62), round(unit * 0.05), max(1, round(unit * 0.0018)), ink)
        draw = ImageDraw.Draw(image)
        for k, line in enumerate(lines):
            draw.text((margin, top + k * leading), line, font=font, fill=ink)
        taken.append((0, foot - leading * 2 - size, width, height))
    return [*taken, _mark(image, margin, max(9, round(unit * 0.0155)))]


def _ink(image: Image.Image, box: tuple[int, int, int, int]) -> tuple[RGB, tuple[RGB, float] | None]:
    """A letter colour for what is under the box, and the shade it needs, if any."""
    under = image.crop((max(box[0], 0), max(box[1], 0), max(box[2], 1), max(box[3], 1))).resize(
        (32, 6), Image.Resampling.BOX
    )
    lights = sorted(to_lab((r, g, b))[0] for r, g, b in np.asarray(under).reshape(-1, 3).tolist())
    mean = average(under)
    middle = sum(lights) / len(lights)
    if middle > 0.66:
        short = max(0.0, 0.74 - lights[8])
        return tone(mean, 0.22, 0.8), (tone(mean, 0.95, 0.6), min(short * 2.6, 0.75)) if short > 0.02 else None
    short = max(0.0, lights[-9] - 0.42)
    return tone(mean, 0.95, 0.5), (tone(mean, 0.16, 0.9), min(short * 2.6, 0.75)) if short > 0.02 else None


def _shade(image: Image.Image, box: tuple[int, int, int, int], colour: RGB, alpha: float) -> None:
    left, top, right, bottom = box[0], max(box[1], 0), box[2], box[3]
    ramp = Image.linear_gradient("L").resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    image.paste(
        colour, (left, top), ramp.point([round(255 * alpha * min(1.0, (i / 255) * 1.5) ** 1.2) for i in range(256)])
    )


def _rule(image: Image.Image, x: int, y: int, wide: int, thick: int, ink: RGB) -> None:
    if y > 0:
        image.paste(ink, (x, y, x + wide, y + thick))


def _mark(image: Image.Image, margin: int, size: int) -> Box:
    """DRAFT, small and widely spaced, mixed with what is under it."""
    font, track = _font(size), size * 0.34
    wide = round(_width(font, "DRAFT", track))
    x, y = image.width - margin - wide, margin
    under = image.crop((x, y, x + wide, y + size))
    mean = average(under)
    light = to_lab(mean)[0]
    ink = mix(tone(mean, 0.2 if light > 0.6 else 0.96, 0.6), mean, 0.22)
    draw = ImageDraw.Draw(image)
    at = float(x)
    for character in "DRAFT":
        draw.text((at, y), character, font=font, fill=ink)
        at += font.getlength(character) + track
    return x, y, x + wide, y + size
