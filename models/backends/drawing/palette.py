"""Turns what a prompt says about colour, light and mood into one palette for the whole picture.

Invariant: named colours keep their hue; light and mood decide how light, dark and strong they are.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from random import Random

from models.backends.drawing.colours import RGB, from_lch, mix, to_lch, tone
from models.backends.drawing.tables import sections
from models.backends.drawing.words import Reading


@dataclass(frozen=True, slots=True)
class Light:
    """A tonal plan: how light each part of the picture is, and what the light tints."""

    zenith: float
    horizon: float
    land: float
    near: float
    chroma: float
    tint: RGB
    share: float
    #: 0 by day, 1 at night: stars, lit windows.
    night: float = 0.0
    #: Whether the sun or moon stands near the horizon.
    low: bool = False
    #: 0 none, 1 sun, 2 moon.
    disc: int = 1


LIGHTS: dict[str, Light] = {
    "day": Light(0.72, 0.93, 0.56, 0.30, 1.0, (255, 250, 232), 0.10),
    "golden": Light(0.62, 0.88, 0.50, 0.24, 1.12, (248, 178, 92), 0.38, low=True),
    "dawn": Light(0.68, 0.90, 0.54, 0.28, 0.95, (250, 196, 178), 0.34, low=True),
    "dusk": Light(0.36, 0.74, 0.36, 0.17, 1.05, (236, 134, 108), 0.30, night=0.5, low=True),
    "night": Light(0.19, 0.46, 0.27, 0.12, 0.85, (84, 116, 178), 0.26, night=1.0, disc=2),
    "neon": Light(0.17, 0.42, 0.26, 0.11, 1.30, (210, 62, 168), 0.24, night=1.0, disc=0),
    "lamp": Light(0.22, 0.50, 0.32, 0.14, 1.0, (238, 160, 78), 0.34, night=0.8, disc=2),
    "storm": Light(0.36, 0.70, 0.34, 0.17, 0.70, (122, 138, 150), 0.30, night=0.25, disc=0),
    "overcast": Light(0.76, 0.90, 0.56, 0.34, 0.62, (216, 222, 224), 0.25, disc=1),
    "studio": Light(0.70, 0.88, 0.50, 0.26, 1.0, (255, 248, 240), 0.10, disc=0),
}


@dataclass(frozen=True, slots=True)
class Mood:
    """How a mood bends the palette."""

    chroma: float
    lift: float
    tint: RGB
    share: float


MOODS: dict[str, Mood] = {
    "hushed": Mood(0.84, 0.015, (206, 212, 214), 0.06),
    "joyful": Mood(1.18, 0.025, (255, 214, 120), 0.05),
    "eerie": Mood(0.78, -0.05, (92, 128, 104), 0.16),
    "melancholy": Mood(0.78, -0.02, (98, 122, 160), 0.12),
    "epic": Mood(1.08, -0.03, (214, 120, 72), 0.05),
    "dreamy": Mood(1.0, 0.03, (196, 158, 216), 0.14),
    "warm": Mood(1.02, 0.0, (232, 150, 100), 0.12),
    "raw": Mood(0.62, -0.02, (132, 126, 120), 0.12),
}
_PLAIN = Mood(1.0, 0.0, (128, 128, 128), 0.0)

#: Where no colour is named: sets of (sky, pale, land, dark, accent), by place.
_DEFAULTS = {
    name: tuple(text.split(" | "))
    for name, text in sections("""\
mountains: 6f9bb8 f1e3d0 5b7490 22324a e0794f | d98c6a f7e2bd 8b5a6b 3a2744 f2b65a | 7fb0a8 f3ecd8 4f7f80 1d3c48
    dd6e4a
coast: 3f8fa8 f6e6c8 3c7480 17394c e8734a | f0a57c fbe6c0 4d7f92 1f3350 d9503f | 77b8b5 f4efdc 2f7d8c 1c3b4f f0b04a
forest: a9c3a0 f2edcf 5d8a63 1e3d33 e3a03f | d9c48c f8efd2 7f8a4a 2c3b26 c8562f | 7fa8a4 e6efe2 3f6f66 16302f d98a4a
city: f0a482 fbe0b8 6a5a8c 231f46 ffc560 | 7c9bc4 f3d9c8 5a638f 1e2444 f4a94a | d67f86 f8d6b2 70547e 2a2147 6cc7c3
street: 8a7fb0 f5d2b0 6c4f78 241c3e ffb54f | 5f93a3 f3dcb8 8a5a52 2a2633 f2a23c | c97b6a f6dcb4 5c5a7c 221f3b 5fc0b0
desert: 8fb7b8 f8e3bb d98a4f 6b3527 c8452f | e9a177 fbe7c4 c9694a 5a2a3a f4c25c | 6ba4b0 f6dfb2 d2a05c 7a4429 b8412f
space: 2c2f6b c9b8e8 5b4a9c 15132f f0a35c | 173f5c 9fd3d6 2f6b86 0d1a2e ee7f58 | 4a235c f0b0a0 7c3f7c 1a0f2a f6cf6a
interior: d9b48a f7e9cf a5694c 43291f 3f7f7c | 9fb3a0 f4ead2 6f7f62 2e3529 d2693f | c98f7a f8e5d0 7c5560 33232e e0a83e
studio: e3b09a f8e6d8 c76b52 5a2a2a 2f6f73 | a9c0b8 f1efe2 5f8a86 233f44 e58a4a | d6b25c f8eed0 c08438 4f3322 35608a
meadow: 86bfcf f7eccb 86a352 2f4a2c e2573f | f3b881 fceac4 93984a 3a4524 c94f4a | a3c8d8 f8f2d8 6fa06a 264436 f0b93a
lake: 6fa3bc f6e5cc 47768a 1d3646 e8884f | e29a86 fae3c6 5b6a90 24274c f3bd62 | 8fbfae f2efd6 3f7d78 18383e dd7a42
snow: 8fb4d0 f4f3ee 86a3bf 2c4560 e2694a | c7a9c4 faeae2 8e93b8 343a60 f0a35a | 7fb5bd f1f5f2 6f9cab 22475a e79a4c
underwater: 2f93a8 bfe9d8 1d6484 0b2a48 f29a54 | 2b7aa8 b3e3ea 22508c 0f1f4a f4c55a | 2f9e8f d3efc8 1c6a6c 0c2f3c
    ef6f5a
cave: 6fb3b0 f6e8bd 4f6378 1a1d2e e58f45 | f0a869 fdebc0 7a4a52 251727 5fb0a8 | 8fa8d8 efe9e0 4f4f7c 17162c f0bd5a
ruins: 94b5a2 f7e9c6 8a8a5c 33382a d46a3f | e7a274 fbe5bd 8a6358 38263a 4f8f8c | 8aa9c4 f5e6cf 9a8468 3a3440 d9803f
open: e8a07a fae3bf 6f6a94 262349 e2553f | 7fb3b5 f8ebcb d08a52 4a2f3a c94a3c | a7b6d6 f6e6da 7a7fae 2a2f5a f0a24e |
    8fae94 f6edcf 5f7f66 23382f e08a3f | d38ba0 fbe2cf 85608f 31234c f2bf62
""").items()
}


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture, by the part they play."""

    zenith: RGB
    sky: RGB
    horizon: RGB
    far: RGB
    land: RGB
    near: RGB
    water: RGB
    accent: RGB
    disc: RGB
    glow: RGB
    glow_too: RGB
    pale: RGB
    light: Light

    def depth(self, share: float) -> RGB:
        """Land colour at a depth: 0 is the far haze, 1 the nearest silhouette."""
        if share < 0.55:
            return mix(self.far, self.land, share / 0.55)
        return mix(self.land, self.near, (share - 0.55) / 0.45)


def choose_light(reading: Reading, place: str, rnd: Random) -> str:
    """The light the prompt asks for, else one that suits the place."""
    if reading.lights:
        lights = reading.lights
        if lights[0] == "overcast" and len(lights) > 1 and reading.has("mist", "misty", "fog", "haze"):
            return lights[1]
        return lights[0]
    moody = {"eerie": "overcast", "warm": "golden", "melancholy": "dusk", "epic": "golden", "joyful": "day"}
    if place == "space":
        return "night"
    if reading.moods and reading.moods[0] in moody and place not in ("studio", "underwater"):
        return moody[reading.moods[0]]
    usual = {
        "studio": ("studio",),
        "city": ("dusk", "golden", "dawn"),
        "street": ("dusk", "lamp", "golden"),
        "cave": ("day",),
    }
    return rnd.choice(usual.get(place, ("day", "golden", "dawn", "dusk")))


def _hex(code: str) -> RGB:
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def _cast(colours: tuple[RGB, ...], place: str, plan: Light, rnd: Random) -> tuple[RGB, RGB, RGB, RGB, RGB]:
    """Give each named colour a part: (sky, pale, land, dark, accent)."""
    if not colours:
        sky, pale, land, dark, accent = (_hex(c) for c in rnd.choice(_DEFAULTS.get(place, _DEFAULTS["open"])).split())
        turn = rnd.uniform(-10, 10)
        return tone(sky, to_lch(sky)[0], 1, turn), pale, tone(land, to_lch(land)[0], 1, turn), dark, accent
    if len(colours) == 1:
        one = colours[0]
        _, chroma, hue = to_lch(one)
        pale = from_lch(0.93, min(chroma, 0.13) * 0.4, hue + 0.3)
        other = from_lch(0.68, max(chroma, 0.06), hue + 2.5)
        return one, pale, one, from_lch(0.24, chroma * 0.6, hue - 0.35), mix(one, other, 0.5)
    by_light = sorted(colours, key=lambda c: -to_lch(c)[0])
    pale, dark = by_light[0], by_light[-1]
    strong = list(by_light)
    if to_lch(pale)[0] > 0.83:
        strong.remove(pale)
    else:
        pale = tone(pale, 0.93, 0.45)
    if to_lch(dark)[0] < 0.36:
        if len(strong) > 3:
            strong.remove(dark)
    else:
        dark = tone(dark, 0.22, 0.9)
    sky, land, accent = _parts(strong or [by_light[-1]], place, plan, rnd)
    return sky, pale, land, dark, accent


#: The hue (degrees in OKLab) land likes to have, by place.
_LAND_HUES = {
    "meadow": 130,
    "forest": 140,
    "desert": 65,
    "ruins": 110,
    "coast": 70,
    "cave": 40,
    "underwater": 230,
    "lake": 160,
}


def _parts(strong: list[RGB], place: str, plan: Light, rnd: Random) -> tuple[RGB, RGB, RGB]:
    """Who is sky, land and accent: blue likes the sky, land has a hue it likes, the strongest warm colour accents."""
    urge = rnd.uniform(0.2, 1.0)
    hue = math.radians(_LAND_HUES.get(place, 250))
    sky, land, accent = [], [], []
    for colour in strong:
        lightness, chroma, at = to_lch(colour)
        weight = min(chroma, 0.12) * 8
        sky.append(urge * weight * math.cos(at - 4.1) - abs(lightness - plan.zenith) + rnd.uniform(0, 0.25))
        land.append(0.6 * weight * math.cos(at - hue) - 0.6 * abs(lightness - plan.land) + rnd.uniform(0, 0.25))
        accent.append(
            0.7 * weight + 0.3 * weight * math.cos(at - 0.9) + 0.4 * lightness - (0.8 if lightness < 0.36 else 0)
        )
    several = itertools.product(range(len(strong)), repeat=3)
    best = max(several, key=lambda p: sky[p[0]] + land[p[1]] + accent[p[2]] + 1.1 * len(set(p)))
    return strong[best[0]], strong[best[1]], strong[best[2]]


def mix_palette(reading: Reading, place: str, rnd: Random) -> Palette:
    """Mix the palette of one picture."""
    name = choose_light(reading, place, rnd)
    light = LIGHTS[name]
    mood = MOODS.get(reading.moods[0], _PLAIN) if reading.moods else _PLAIN
    sky, pale, land, dark, accent = _cast(reading.colours, place, light, rnd)
    chroma, named = light.chroma * mood.chroma, bool(reading.colours)
    share = light.share * (0.55 if named else 1.0)

    def at(colour: RGB, goal: float, own: float, tint: float, strength: float = 1.0) -> RGB:
        lightness = goal + (to_lch(colour)[0] - goal) * own + mood.lift
        tinted = mix(mix(colour, light.tint, tint), mood.tint, mood.share)
        return tone(tinted, min(max(lightness, 0.07), 0.97), chroma * strength)

    zenith = at(sky, light.zenith, 0.22, share * 0.35)
    horizon = at(pale, light.horizon, 0.12, share * 1.25, 1.25 if light.night > 0.4 else 1.0)
    if light.night > 0.4:
        horizon = tone(mix(horizon, sky, 0.45), to_lch(horizon)[0], 1.1)
    near = at(dark, light.near, 0.1, share * 0.12, 0.95)
    middle = at(land, light.land, 0.4, share * 0.4)
    bright = tone(mix(pale, light.tint, 0.35 if light.disc == 1 else 0.1), 0.95, 0.9)
    lit = tone(mix(accent, (255, 196, 110), 0.6), 0.84, 1.0)
    if name == "neon":
        lit = tone(accent, 0.74, 1.5)
    return Palette(
        zenith=zenith,
        sky=mix(zenith, horizon, 0.48),
        horizon=horizon,
        far=mix(mix(middle, zenith, 0.35), horizon, 0.62),
        land=middle,
        near=near,
        water=mix(tone(mix(zenith, middle, 0.35), max(0.16, light.zenith - 0.16)), near, 0.15),
        accent=at(accent, 0.62 if light.night < 0.6 else 0.58, 0.55, share * 0.3, 1.1),
        disc=bright
        if not (light.low and math.cos(to_lch(accent)[2] - 0.8) > 0.4 and rnd.random() < 0.5)
        else tone(mix(accent, bright, 0.3), 0.78, 1.2),
        glow=lit,
        glow_too=tone(sky, 0.72, 1.5) if name == "neon" else mix(lit, pale, 0.4),
        pale=tone(pale, 0.93),
        light=light,
    )
