"""Colour names and colour arithmetic in OKLab, where mixing two colours never turns muddy.

Invariant: every function is pure, and every colour handed out is inside the sRGB gamut.
"""

from __future__ import annotations

import math
from functools import lru_cache

RGB = tuple[int, int, int]
#: Lightness 0..1, chroma 0..~0.33, hue in radians.
LCh = tuple[float, float, float]

_TABLE = """
white fbfaf5, bone white ece4d3, bone e6dcc6, ivory f5eddc, cream f5e9cf, eggshell efe7d6, pearl e9e4de, chalk efeee9,
linen ece2d3, parchment e9dcbc, alabaster efebe3, milk f4f0e8, off white f1ece1, snow white f6f8fa, porcelain e8ebec,
beige dccbac, sand d9bf94, buff dcb987, tan c49a6c, khaki b7a473, camel bd8d56, wheat e3c58e, straw dcc277,
oatmeal d8c9ae, champagne ecd6ae, biscuit dbb98d, fawn c69c6f, taupe 8f8072, mushroom a89a8b, greige b3a998,
black 17171b, ink 1d2230, ink black 17191f, jet 1b1b1f, onyx 25262b, charcoal 3a3d42, soot 2b2a2c, coal 26262a,
graphite 45484d, slate 5d6b78, slate grey 65727d, slate blue 5b6f94, gunmetal 3f474d, lead 6b7076, iron 575b5f,
grey 8d9094, ash b2b0aa, ash grey a9aaa5, smoke 9a9b9d, stone a39c8e, silver c3c8cd, steel 7f8b97, steel blue 4f7ea8,
pewter 8a8f92, platinum d8d8d4, dove grey a8a5a3, fog c4c9ca, concrete 9b9994, storm grey 5c646c,
red c8322f, crimson b01e36, scarlet d5362a, vermilion db4a2b, cherry b3213b, ruby a3173f, carmine a81c33,
brick a8452f, brick red a5402f, oxblood 5f1a1c, maroon 6d1f2a, burgundy 6e1b32, wine 6a2038, cranberry 97203c,
rust b04f28, copper b5683c, terracotta c5694a, burnt sienna a8532f, sienna a15a36, burnt orange c45a22, paprika bf4526,
ochre c78f35, yellow ochre c9952f, umber 6a4a30, burnt umber 5a3826, raw umber 77583a, russet 84432b, cinnamon 9f5a36,
chestnut 7c4029, mahogany 6a2c22, brown 74502f, chocolate 57351f, coffee 5f4433, walnut 5e4530, sepia 735236,
bronze 96703a, brass b6923f, tobacco 795632, caramel bd7b3b, toffee 97602f, cocoa 65442f, clay b3775a, adobe c47d56,
orange e27a2b, tangerine ec8335, apricot f0ad77, peach f3bb98, coral ea7460, salmon ea8c76, persimmon dd6434,
pumpkin d9742a, amber e09d2d, honey dba63b, gold d3a536, old gold bb9336, golden d9a840, saffron e8a82e,
mustard c89b2a, marigold eaa326, yellow ecc83c, lemon f1dc60, lemon yellow f0d950, butter f3dd92, canary f2da4c,
sunflower efbb2f, primrose efe08c, acid yellow d9e021, chartreuse b4cf3b, lime a6cf3d, lime green 8cc63f,
green 43834a, emerald 1f8a5b, jade 3f9c78, mint a6dbc0, sage 9bab8a, olive 7a7c3c, olive green 747a3a, moss 6b7a3c,
moss green 66763a, fern 5d8a4d, forest green 2b5a3b, pine 2c5549, pine green 2a5446, hunter green 2f5838,
bottle green 1c4a3a, viridian 2f7f6b, malachite 1f9a5c, celadon aecfb3, pistachio b5cf8f, sea green 4d9a84,
seafoam a3d5c3, verdigris 5ba79a, lichen a5b08c, eucalyptus 86a596, juniper 4c6a62, acid green a8d32a,
teal 23787c, petrol 1f5562, turquoise 35b0ab, aqua 63c6c8, cyan 37b6cf, ice blue c5e1ea, glacier a9d0dc,
powder blue b3cfe0, sky blue 86bde0, baby blue a9cfe8, azure 3e8fd0, cerulean 2f86b8, blue 2f62a8, cobalt 2450a0,
cobalt blue 2450a0, ultramarine 2b3f9b, royal blue 2f4fae, sapphire 1f4b91, prussian blue 1b3a57, navy 1d2b4d,
navy blue 1d2b4d, midnight blue 1a2346, indigo 38317a, denim 40608a, electric blue 2c6bf0, cornflower 6b8fd8,
periwinkle 8f97d6, delft blue 2f4f86, pale blue bcd5e6, duck egg bfd8d2, powder c9d3dc,
violet 6d459f, purple 6b3a8a, lavender b3a3d6, lilac c0a3cf, mauve a88aa6, plum 6b3459, aubergine 43233f,
eggplant 43233f, amethyst 8a62b5, orchid b96bb4, heather 9f8aa8, wisteria a690c9, thistle b8a3b8, grape 5c3573,
mulberry 7f2f5b, magenta bf2d86, fuchsia cf3a94, pink e691a8, hot pink ec4a94, rose d87a88, dusty rose c28a88,
rose gold d3a08b, blush ecc1b8, shell pink efcdc2, salmon pink ee9c8c, raspberry b3295a, cerise c92a66,
neon pink ff4fa3, neon green 58f07a, neon blue 37a8ff, turmeric d99a20, henna 8a4026, blood red 84151a
"""


def _parse(table: str) -> dict[str, RGB]:
    names = {}
    for entry in table.replace("\n", " ").split(","):
        name, _, code = entry.strip().rpartition(" ")
        names[name] = (int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16))
    names |= {name.replace("grey", "gray"): rgb for name, rgb in names.items() if "grey" in name}
    return names


#: Colour name (one or two words, lower case) -> sRGB.
NAMES = _parse(_TABLE)
_ALSO_THINGS_TEXT = """
bone pearl chalk linen parchment milk sand straw wheat biscuit mushroom ink jet coal lead iron ash smoke stone silver
steel fog concrete powder cherry ruby brick wine copper umber chestnut walnut bronze brass tobacco caramel coffee
chocolate cocoa clay adobe coral salmon pumpkin honey gold golden butter lemon canary sunflower lime orange peach
apricot olive moss fern pine mint jade emerald juniper lichen eucalyptus glacier plum grape orchid heather thistle
rose lavender lilac violet raspberry marigold primrose camel fawn slate soot champagne oatmeal shell henna porcelain
platinum sapphire amethyst mulberry cranberry tangerine saffron mustard turmeric cinnamon paprika amber wisteria snow
pewter toffee malachite
"""
#: Names that are things as often as colours; they count only next to another colour or before "tones" and the like.
ALSO_THINGS = frozenset(_ALSO_THINGS_TEXT.split())
#: A word before a colour: (what its lightness becomes a part of, how far, chroma factor).
MODIFIERS: dict[str, tuple[float, float, float]] = {
    "pale": (0.92, 0.5, 0.6), "light": (0.9, 0.4, 0.8), "soft": (0.85, 0.25, 0.7), "dusty": (0.7, 0.2, 0.55),
    "muted": (0.65, 0.15, 0.5), "faded": (0.8, 0.25, 0.5), "dark": (0.22, 0.5, 0.85), "deep": (0.28, 0.45, 1.05),
    "bright": (0.78, 0.3, 1.3), "vivid": (0.68, 0.15, 1.4), "hot": (0.65, 0.1, 1.4), "neon": (0.75, 0.4, 1.8),
    "electric": (0.65, 0.2, 1.6), "warm": (0.75, 0.1, 1.0), "smoky": (0.5, 0.2, 0.5), "burnt": (0.45, 0.3, 1.0),
    "icy": (0.93, 0.5, 0.5), "inky": (0.2, 0.6, 0.8), "dull": (0.55, 0.1, 0.45), "washed": (0.85, 0.3, 0.5),
}  # fmt: skip


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


_LINEAR = tuple(_linear(i / 255) for i in range(256))


def _encoded(value: float) -> int:
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


#: Linear light in steps of 1/16384 -> the sRGB byte.
_ENCODED = tuple(_encoded(min((i + 0.5) / 16384, 1.0)) for i in range(16385))


@lru_cache(maxsize=2048)
def to_lab(colour: RGB) -> tuple[float, float, float]:
    """sRGB to OKLab."""
    r, g, b = _LINEAR[colour[0]], _LINEAR[colour[1]], _LINEAR[colour[2]]
    x = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    y = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    z = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * x + 0.7936177850 * y - 0.0040720468 * z,
        1.9779984951 * x - 2.4285922050 * y + 0.4505937099 * z,
        0.0259040371 * x + 0.7827717662 * y - 0.8086757660 * z,
    )


def _raw(light: float, a: float, b: float) -> tuple[float, float, float]:
    x = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    y = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    z = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
        -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
        -0.0041960863 * x - 0.7034186147 * y + 1.7076147010 * z,
    )


def from_lab(light: float, a: float, b: float) -> RGB:
    """OKLab to sRGB; what is out of gamut loses chroma, never hue."""
    light = min(max(light, 0.0), 1.0)
    for _ in range(12):
        red, green, blue = _raw(light, a, b)
        if -0.002 <= red <= 1.002 and -0.002 <= green <= 1.002 and -0.002 <= blue <= 1.002:
            break
        a, b = a * 0.88, b * 0.88
    return (
        _ENCODED[int(min(max(red, 0.0), 1.0) * 16384)],
        _ENCODED[int(min(max(green, 0.0), 1.0) * 16384)],
        _ENCODED[int(min(max(blue, 0.0), 1.0) * 16384)],
    )


def to_lch(colour: RGB) -> LCh:
    """sRGB to lightness, chroma and hue."""
    light, a, b = to_lab(colour)
    return light, math.hypot(a, b), math.atan2(b, a)


def from_lch(light: float, chroma: float, hue: float) -> RGB:
    """Lightness, chroma and hue to the nearest sRGB colour of that hue."""
    return from_lab(light, chroma * math.cos(hue), chroma * math.sin(hue))


def mix(one: RGB, two: RGB, share: float) -> RGB:
    """``one`` with ``share`` (0..1) of ``two`` in it."""
    (light, a, b), (other, c, d) = to_lab(one), to_lab(two)
    return from_lab(light + (other - light) * share, a + (c - a) * share, b + (d - b) * share)


def tone(colour: RGB, light: float, chroma: float = 1.0, turn: float = 0.0) -> RGB:
    """The colour at another lightness, its chroma multiplied and its hue turned by degrees."""
    _, c, hue = to_lch(colour)
    return from_lch(light, c * chroma, hue + math.radians(turn))


def modify(colour: RGB, modifier: str) -> RGB:
    """The colour as the word before it says: pale, dark, dusty."""
    goal, share, chroma = MODIFIERS[modifier]
    light, c, hue = to_lch(colour)
    return from_lch(light + (goal - light) * share, c * chroma, hue)
