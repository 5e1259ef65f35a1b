"""From a prompt to a finished picture: plan the composition, draw the place, set the subject, finish the print.

Invariant: the same prompt, title, seed, size, tones and picture below give the same pixels, in any thread and order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image

from models.backends.drawing import built, land, rooms, waters, wild
from models.backends.drawing.canvas import Canvas
from models.backends.drawing.colours import RGB
from models.backends.drawing.finish import INDOORS, draw_mist, draw_weather, grain
from models.backends.drawing.lettering import letter, title_of
from models.backends.drawing.palette import Palette, mix_palette
from models.backends.drawing.stage import Spot, Stage
from models.backends.drawing.subjects import draw_subjects
from models.backends.drawing.under import Under, lay_over
from models.backends.drawing.words import Reading, read

SCENES: dict[str, Callable[[Stage], Spot]] = {
    "mountains": land.mountains,
    "snow": land.snow,
    "desert": land.desert,
    "meadow": land.meadow,
    "open": land.open_land,
    "coast": waters.coast,
    "lake": waters.lake,
    "underwater": waters.underwater,
    "forest": wild.forest,
    "cave": wild.cave,
    "ruins": wild.ruins,
    "space": wild.space,
    "city": built.city,
    "street": built.street,
    "interior": rooms.interior,
    "studio": rooms.studio,
}
#: Where the horizon stands, as a range of the height.
_HORIZONS = {
    "coast": (0.42, 0.56), "lake": (0.46, 0.58), "city": (0.62, 0.74), "meadow": (0.44, 0.56), "desert": (0.46, 0.58),
    "forest": (0.5, 0.6), "cave": (0.5, 0.58), "interior": (0.5, 0.5), "studio": (0.6, 0.6),
}  # fmt: skip


def draw(
    prompt: str,
    title: str,
    seed: int,
    width: int,
    height: int,
    *,
    tones: tuple[RGB, ...] = (),
    under: Under | None = None,
) -> Image.Image:
    """Draw one picture; with ``tones`` in these colours whatever the prompt names, with ``under`` over a picture."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
    reading = read(prompt)
    rnd = Random(int.from_bytes(digest[:8], "big"))
    gen = np.random.Generator(np.random.PCG64(int.from_bytes(digest[8:16], "big")))
    place = _place(reading, rnd)
    palette = _in_tones(reading, place, tones) if tones else mix_palette(reading, place, rnd)
    canvas = Canvas(width, height)
    side = rnd.choice((-1, 1))
    low, high = _HORIZONS.get(place, (0.5, 0.64))
    stage = Stage(
        canvas=canvas,
        palette=palette,
        reading=reading,
        place=place,
        rnd=rnd,
        gen=gen,
        horizon=height * rnd.uniform(low, high),
        focus=width * (0.5 + side * rnd.uniform(0.1, 0.19)),
        side=side,
    )
    spot = SCENES[place](stage)
    if "mist" in reading.weather and place not in INDOORS:
        draw_mist(stage)
    draw_subjects(stage, spot)
    draw_weather(stage)
    image = grain(stage, int.from_bytes(digest[16:24], "big"))
    captions = letter(stage, image, title_of(title, prompt))
    return image if under is None else lay_over(image, under, captions)


def _in_tones(reading: Reading, place: str, tones: tuple[RGB, ...]) -> Palette:
    """The palette of given colours; the same for all pictures that share them, the light and the place."""
    seed = hashlib.sha256(repr(tones).encode()).digest()[:8]
    return mix_palette(replace(reading, colours=tones), place, Random(int.from_bytes(seed, "big")))


def _place(reading: Reading, rnd: Random) -> str:
    if reading.places:
        snowed_in = reading.places[0] == "meadow" and "snow" in reading.places
        return "snow" if snowed_in else reading.places[0]
    if any(name in reading.subjects for name in ("bowl", "cup", "bread", "book")):
        return "interior"
    if any(name in reading.subjects for name in ("bottle", "shoe", "fruit", "vase")):
        return "studio"
    if any(name in reading.subjects for name in ("whale", "jellyfish", "fish")):
        return "underwater"
    return "open" if rnd.random() < 0.7 else rnd.choice(("mountains", "meadow", "lake", "coast"))
