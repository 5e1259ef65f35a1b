"""The prompts of a campaign's variants: dealt from an industry's lists, or the user's own words left as they are.

What the user asked for by an option (style, tone, goal, room for copy, lettering) is said after either; what a sparse
prompt already says (its setting, light, camera or style) is not said a second time.

Lettering: image models misspell, so neither brand nor call to action is lettered unless ``lettering`` asks for it.
Where one of them is given without it, an area of the picture is kept calm for a designer to set them in.

Invariant: the same wish, lists and seed give the same prompts, and no two variants are dealt the same hand as long as
the lists have hands left.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Literal

from tirada.workflows.marketing import detail
from tirada.workflows.marketing.catalog import Industry, Style
from tirada.workflows.marketing.detail import Detail

Shape = Literal["square", "portrait", "landscape", "story"]
#: Width and height in pixels: 1:1 for feeds, 4:5 for feeds that are scrolled, 16:9 for screens, 9:16 for phones.
SHAPES: dict[Shape, tuple[int, int]] = {
    "square": (1024, 1024),
    "portrait": (1024, 1280),
    "landscape": (1792, 1008),
    "story": (1008, 1792),
}
#: Where copy goes. Phones lay their own buttons over the top and the bottom of a story.
COPY_AREA: dict[Shape, str] = {
    "square": "the upper quarter of the picture",
    "portrait": "the upper third of the picture",
    "landscape": "the left third of the picture",
    "story": "the upper third of the picture, a little below its edge",
}
TONES = {
    "luxurious": "an unhurried, luxurious mood with rich materials and deep shadows",
    "playful": "a playful mood with a wink and a surprising detail",
    "minimalist": "a quiet, reduced mood where nothing is left to take away",
    "bold": "a bold, high-contrast mood that stops the eye",
    "colorful": "a joyful mood in full, saturated colour",
    "elegant": "an elegant mood, slender lines and soft transitions",
    "futuristic": "a forward-looking mood, clean forms and cool light",
    "friendly": "a friendly, approachable mood with warm light",
    "trustworthy": "a calm, trustworthy mood without any effect",
    "energetic": "an energetic mood with diagonal lines and movement",
    "calm": "a calm mood with slow, open space",
    "nostalgic": "a nostalgic mood with faded warmth",
}
GOALS = {
    "product promotion": "the product large, sharp and first to be seen",
    "product launch": "a moment of unveiling, the product seen for the first time",
    "event announcement": "the expectant air of a gathering about to begin",
    "brand awareness": "one memorable, simple image with the product small in a generous scene",
    "limited-time offer": "an urgent, bright and generous arrangement",
    "seasonal": "unmistakable signs of the season",
    "recruiting": "people at their work, looked at with respect",
}
#: Kept out of every picture that is not to be lettered.
UNLETTERED = ("text", "lettering", "watermark")
#: Option -> list of the industry, with what goes before an entry. Those that a prompt speaks of already are not dealt.
_HANDS = (("setting", "settings", ""), ("props", "props", "with "), ("light", "lights", "lit by "))
_MORE_HANDS = (("view", "views", ""), ("palette", "palettes", ""))
_SAID_BY = {"setting": "setting", "light": "light", "view": "camera", "palette": "style"}
#: Places that are for things: nobody stands on a shelf.
_FOR_THINGS = re.compile(
    r"^(?:on .*\b(?:tray|shelf|table|slab|block|plinth|surface|board|blotter|hook|cubes|counter|desk|sill|island|arm)\b"
    r"|on (?:a|an|the) .*\b(?:backdrop|cloth|stone|glass|felt|cork|rack|scales)\b|in the palm\b|.*\b(?:drawer|box)\b)"
)
#: Places that say at what time of day it is, beside those with a light of their own.
_TIMED = re.compile(r"\b(?:morning|evening|night|sunny|skylight|light-filled)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of all variants."""

    prompt: str
    variants: int
    shape: Shape
    brand: str = ""
    tone: str = ""
    goal: str = ""
    cta: str = ""
    lettering: bool = False
    #: Only what is behind the product is rendered; the product is laid over it.
    backdrop: bool = False
    #: The backend heeds no negative prompt.
    no_negative: bool = False
    #: The word a LoRA was trained with, where one is used.
    trigger: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One variant."""

    title: str
    prompt: str
    #: What was chosen for it: setting, props, light, view, palette.
    facts: Mapping[str, str] = field(default_factory=dict)


def shape_of(width: int, height: int) -> Shape:
    """The named shape whose proportions are nearest to those of a size."""
    return min(SHAPES, key=lambda name: abs(_ratio(width, height) - _ratio(*SHAPES[name])))


def _ratio(width: int, height: int) -> float:
    """Above 0 for wide, below for tall, alike on both sides."""
    return width / height - 1 if width >= height else 1 - height / width


def negative_of(wish: Wish, industry: Industry, style: Style | None) -> str:
    """What no variant is to show."""
    words = [*industry.dont, *(style.negative.split(", ") if style else ()), *(() if wish.lettering else UNLETTERED)]
    return ", ".join(dict.fromkeys(words))


# --- dealing ----------------------------------------------------------------------------------------------------------


def deal(lists: Sequence[tuple[str, Sequence[str]]], count: int, seed: int) -> list[dict[str, str]]:
    """``count`` hands with an entry of each named list, each list shuffled by the seed and dealt without repeats.

    When a list is used up it is dealt again in the same order. Once it has come round together with the first list, it
    goes on by one: entry i of list k is number (i + i // lcm(n_0, n_k)) modulo n_k, so that the first two lists alone
    give n_0 * n_1 hands of which no two are alike.
    """
    source = random.Random(seed)
    decks = [(name, source.sample(list(entries), len(entries))) for name, entries in lists]
    first = len(decks[0][1])

    def entry(place: int, deck: list[str], number: int) -> str:
        further = number // lcm(first, len(deck)) if place else 0
        return deck[(number + further) % len(deck)]

    return [{name: entry(place, deck, n) for place, (name, deck) in enumerate(decks)} for n in range(count)]


def dealt(wish: Wish, industry: Industry, style: Style | None, seed: int) -> list[Scene]:
    """The variants of a sparse prompt, from the industry's lists."""
    found = detail.look_at(wish.prompt)
    left_out = {name for name, facet in _SAID_BY.items() if facet in found.facets and not wish.backdrop}
    entries = {"settings": _settings(industry, people=found.people and not wish.backdrop)}
    lists = [
        (name, entries.get(key) or getattr(industry, key))
        for name, key, _ in (*_HANDS, *_MORE_HANDS)
        if name not in left_out
    ]
    hands = deal([*lists, ("do", industry.do)], wish.variants, seed)
    return [_scene(wish, hand, found, industry, style) for hand in hands]


def _settings(industry: Industry, *, people: bool) -> Sequence[str]:
    """Where it can be; for people nothing that only holds a thing, as long as something is left."""
    fitting = [one for one in industry.settings if not _FOR_THINGS.search(one)] if people else []
    return fitting or industry.settings


def _scene(wish: Wish, hand: dict[str, str], found: Detail, industry: Industry, style: Style | None) -> Scene:
    if wish.backdrop and found.setting:
        hand = {**hand, "setting": found.setting}
    where = hand.get("setting", "")
    if "light" in detail.look_at(where).facets or _TIMED.search(where):
        # A second light would be another one than that of the place.
        hand = {name: text for name, text in hand.items() if name != "light"}
    opening = "An empty scene for a product photograph" if wish.backdrop else wish.prompt.rstrip(" .,;:")
    parts = [f"{opening} {where}".rstrip()]
    parts += [before + hand[name] for name, _, before in _HANDS[1:] if name in hand]
    if wish.backdrop:
        parts.append("the middle left free, with a clean surface to stand on")
    parts += [style.words] if style else []
    parts += [hand["view"]] if "view" in hand else []
    parts += [f"a palette of {hand['palette']}"] if "palette" in hand else []
    parts += [*steering(wish), *without_text(wish), hand["do"]]
    facts = {name: text for name, text in hand.items() if name != "do"}
    title = where or f"with {hand['props']}"
    return Scene(title=title[:1].upper() + title[1:], prompt=triggered(wish, ", ".join(parts)), facts=facts)


# --- the user's own words ---------------------------------------------------------------------------------------------


def as_written(wish: Wish, style: Style | None) -> list[Scene]:
    """The variants of a detailed prompt: the words as they are, then what options asked for."""
    prompt = wish.prompt
    if said := [*([style.words] if style else []), *steering(wish)]:
        prompt = ", ".join([prompt.rstrip(" .,;:"), *said])
    prompt = triggered(wish, prompt)
    return [Scene(title=f"Variant {number}", prompt=prompt) for number in range(1, wish.variants + 1)]


def triggered(wish: Wish, prompt: str) -> str:
    return f"{wish.trigger}, {prompt}" if wish.trigger else prompt


def steering(wish: Wish) -> list[str]:
    """What the options for tone, goal and copy come to in a prompt."""
    parts = []
    if wish.tone:
        parts.append(TONES.get(_key(wish.tone), f"a mood that is {wish.tone.strip().lower()}"))
    if wish.goal:
        parts.append(GOALS.get(_key(wish.goal), f"made for a campaign with one goal: {wish.goal.strip()}"))
    return [*parts, *copy_words(wish)]


def copy_words(wish: Wish) -> list[str]:
    """The room for copy, or the copy itself where it is to be lettered."""
    area = COPY_AREA[wish.shape]
    if wish.lettering:
        lines = [f'the words "{wish.cta.strip()}" lettered once, large and clean, in {area}'] if wish.cta else []
        return lines + ([f'the name "{wish.brand.strip()}" lettered small and clean'] if wish.brand else [])
    return [f"{area} calm and empty, as room for copy"] if wish.brand or wish.cta else []


def without_text(wish: Wish) -> list[str]:
    """Said in prompts of our own where no negative prompt says it."""
    return ["free of any added text"] if wish.no_negative and not wish.lettering else []


def _key(text: str) -> str:
    """``Bold & Colorful`` and ``limited time offer`` find their entries too."""
    word = " ".join(text.lower().replace("-", " ").replace("&", " ").split())
    known = {name.replace("-", " "): name for name in (*TONES, *GOALS)}
    first = word.split(" ")[0] if word else ""
    return known.get(word) or known.get(first, word)
