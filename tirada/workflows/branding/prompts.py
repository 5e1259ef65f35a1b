"""From a wish and a kit to prompts: what is in each picture is dealt from the kit's lists, and put into sentences.

    <Style>: <subject>, <scene>, <place>, with <attribute>. The light is <light>. The colours are <palette>: <colours>.
    They fill most of the picture. <What the rules say.>

A custom prompt takes the place of the scene and of the attribute, and of the place or the light too where it names one
itself, so that no two parts of a prompt contradict each other.
Invariant: the same kit, wish and seed give the same prompts, and images differ for as long as the lists have cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.contract import DESCRIPTION_MAX, TAGS_MAX, TAGS_MIN, TITLE_MAX, Hand
from models.roles import SeededDealer
from tirada.workflows.branding.kit import AgeGroup, Kit, Phrase, Product
from tirada.workflows.branding.metadata import Wish

#: A custom prompt that reads on after the subject begins with what somebody does, or where and how.
_GERUND = re.compile(
    r"(?i)(?!(?:evening|morning|spring|king|string|wedding|ceiling|nothing|something)\b)[a-z]{2,}ing\b"
)
_PREPOSITION = re.compile(
    r"(?i)(?:in|on|at|by|under|over|above|below|beside|behind|between|inside|outside|near|along|across|among|against|"
    r"before|through|with|without|while|during|after|around|from|next to|in front of)\b"
)
#: Words that say where, and words that say in which light.
_PLACE = re.compile(
    r"(?i)\b(?:in|on|at|by|under|above|inside|outside|near|along|across|among|through|into|onto|beside|behind|"
    r"next to|in front of|against)\s+(?:an?|the|some|his|her|its|their|our|my|your|one|two|three)\b|"
    r"\b(?:indoors|outdoors|outside|inside|downtown|at (?:home|work|school|sea)|in (?:town|nature|space))\b"
)
_LIGHT = re.compile(
    r"(?i)\b(?:light|lit|sunlight|sun|sunny|sunset|sunrise|dawn|dusk|twilight|night|midnight|noon|morning|evening|"
    r"moonlight|candlelight|lamplight|neon|backlit|shade|shadow|shadows|overcast|golden hour|blue hour)\b"
)
#: What each further try says first: that the colours are meant.
_PLAINER = (
    "The whole picture is kept in {colours}.",
    "Only {colours}, on every surface, in the light and in the background.",
    "A picture of large, simple areas of {colours}, and hardly any other colour.",
)
#: Stands for an age in what a kit says of a group of ages.
AGE = "{age}"
#: Nobody is older where no age is said.
_USUAL = 85
_CHILD = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DECADES = ("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
#: For kits with little to tag.
_TAGS = ("brand image", "advertising", "product image", "campaign", "marketing")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in one picture; "" where the custom prompt says it, or nothing does."""

    subject: str
    action: str
    place: str
    attribute: str
    light: str
    style: str
    colours: str


def deal(kit: Kit, product: Product, wish: Wish, seed: int, count: int) -> list[Scene]:
    """What is in each of ``count`` pictures; the seed decides."""
    dealer = _Dealer(seed)
    custom = wish.custom_prompt
    scenes = []
    for _ in range(count):
        group = _group(kit, product, wish, dealer)
        own = group.name if group is not None else ""
        subject = _subject(product, group, wish, dealer)
        action = Phrase("") if custom else _phrase(dealer, f"scenes/{own}", product.scenes, group)
        places = (f"places/{action.text}", action.places) if action.places else ("places", product.places)
        scenes.append(
            Scene(
                subject=subject,
                action=action.text,
                place="" if _PLACE.search(custom) else dealer.one(*places),
                attribute="" if custom else _phrase(dealer, f"attributes/{own}", product.attributes, group).text,
                light="" if _LIGHT.search(custom) else dealer.one("lights", product.lights),
                style=dealer.one("styles", product.styles),
                colours=dealer.one("colours", product.colours),
            )
        )
    return scenes


class _Dealer:
    """Deals one card at a time; an empty deck gives an empty card."""

    def __init__(self, seed: int) -> None:
        self._dealer = SeededDealer(seed)

    def one(self, deck: str, cards: Sequence[str]) -> str:
        return self._dealer.deal([Hand(f"brand/{deck}", cards, 1)])[0][0] if cards else ""


def _group(kit: Kit, product: Product, wish: Wish, dealer: _Dealer) -> AgeGroup | None:
    if not product.people:
        return None
    if wish.age is not None:
        return kit.age_group(wish.age)
    adults = {group.name: group for group in kit.adults()}
    return adults[dealer.one("ages", list(adults))]


def _subject(product: Product, group: AgeGroup | None, wish: Wish, dealer: _Dealer) -> str:
    if group is None:
        return dealer.one("subjects", product.subjects)
    who = {"male": group.male, "female": group.female}.get(wish.sex, group.anyone)
    if AGE in who:
        usual = [str(age) for age in range(group.first, max(group.first, min(group.last, _USUAL)) + 1)]
        who = who.replace(AGE, in_words(int(dealer.one(f"age/{group.name}", usual)) if wish.age is None else wish.age))
    look = dealer.one(f"looks/{group.name}", group.looks)
    return f"{who}, {look}" if look else who


def in_words(age: int) -> str:
    """An age as it reads after "in their": "early thirties"; that of a child as it reads after "of about": "eight"."""
    if age < len(_CHILD):
        return _CHILD[max(age, 1)]
    decade, year = divmod(min(age, 99), 10)
    return f"{('early', 'mid', 'late')[(year > 3) + (year > 6)]} {_DECADES[decade - 1]}"


def _phrase(dealer: _Dealer, deck: str, phrases: Sequence[Phrase], group: AgeGroup | None) -> Phrase:
    suiting = {phrase.text: phrase for phrase in phrases if phrase.suits(group)}
    return suiting.get(dealer.one(deck, list(suiting)), Phrase(""))


# --- sentences --------------------------------------------------------------------------------------------------------


def picture_of(scene: Scene, custom: str) -> str:
    """What is to be seen, as one sentence or two, without style, light and colours."""
    reads_on = bool(custom) and bool(_GERUND.match(custom) or _PREPOSITION.match(custom))
    parts = [scene.subject, scene.action or (_lower(custom) if reads_on else ""), scene.place]
    if scene.attribute:
        parts.append(f"with {scene.attribute}")
    sentence = _sentence(", ".join(part for part in parts if part))
    return sentence if reads_on or not custom else f"{sentence} {_sentence(custom)}"


def prompt_of(kit: Kit, product: Product, scene: Scene, picture: str, *, hexes: bool = False) -> str:
    """The whole prompt of a picture that shows ``picture``."""
    parts = [
        _sentence(f"{scene.style}: {_lower(picture)}"),
        _sentence(f"The light is {scene.light}") if scene.light else "",
        colours_of(kit, scene.colours, hexes=hexes),
        *rules_of(kit, product),
    ]
    return " ".join(part for part in parts if part)


def colours_of(kit: Kit, how: str, *, hexes: bool) -> str:
    """The sentences about the palette; ``how`` says which colour is where."""
    named = _enumerated([f"{name} ({code})" if hexes else name for name, code in kit.palette.items()])
    one = len(kit.palette) == 1
    verb, it = ("colour is", "It fills") if one else ("colours are", "They fill")
    return f"{_sentence(f'The {verb} {named}: {how}' if how else f'The {verb} {named}')} {it} most of the picture."


def rules_of(kit: Kit, product: Product) -> list[str]:
    """What the rules have to say in the prompt itself."""
    return [_sentence(rule.prompt) for rule in kit.rules_for(product) if rule.prompt]


def plainer(prompt: str, palette: Mapping[str, str], number: int) -> str:
    """The prompt of a further try (1 = the first further one): it opens with the colours."""
    opening = _PLAINER[(number - 1) % len(_PLAINER)].format(colours=_enumerated(list(palette)))
    return f"{opening} {prompt}"


def apart(prompt: str, palette: Mapping[str, str]) -> tuple[str, str, str]:
    """The opening of a further try, what is to be seen, and what is said of colours and rules: joined, the prompt."""
    colours = _enumerated(list(palette))
    openings = (f"{one.format(colours=colours)} " for one in _PLAINER)
    opening = next((one for one in openings if prompt.startswith(one)), "")
    prompt = prompt.removeprefix(opening)
    verb = "colour is" if len(palette) == 1 else "colours are"
    at = prompt.find(f" The {verb} {next(iter(palette))}")
    return (opening, prompt[:at], prompt[at:]) if at > 0 else (opening, prompt, "")


def common_of(kit: Kit, product: Product, wish: Wish, prompts: Sequence[str]) -> str:
    """What the prompts of all images have in common."""
    if len(set(prompts)) == 1:
        return prompts[0]
    about = _sentence(f"{product.name}: {wish.custom_prompt}" if wish.custom_prompt else product.name)
    return " ".join([about, colours_of(kit, "", hexes=False), *rules_of(kit, product)])


# --- for the catalogue ------------------------------------------------------------------------------------------------


def title_of(kit: Kit, product: Product, wish: Wish, scenes: Sequence[Scene]) -> str:
    """A title of at most TITLE_MAX characters."""
    said = wish.custom_prompt or (scenes[0].action if len(scenes) == 1 else "")
    name = product.name[:1].upper() + product.name[1:]
    return shortened(
        f"{name}: {said.rstrip('.')}" if said else f"{name} in {_enumerated(list(kit.palette))}", TITLE_MAX
    )


def short_of(scene: Scene, custom: str) -> str:
    """What is in a picture, without what it looks like and where it is: a caption."""
    return _sentence(f"{scene.subject.partition(',')[0]}, {custom or scene.action}")


def description_of(kit: Kit, wish: Wish, scenes: Sequence[Scene]) -> str:
    """A description within the limits of the contract: of the picture, or of each in few words."""
    custom = wish.custom_prompt
    each = [short_of(scene, custom).rstrip(".") for scene in scenes]
    seen = picture_of(scenes[0], custom) if len(each) == 1 else _sentence("; ".join([each[0], *map(_lower, each[1:])]))
    closing = _sentence(f"In the colours of the kit {kit.title}: {_enumerated(list(kit.palette))}")
    room = DESCRIPTION_MAX - len(closing) - 1
    return f"{shortened(seen, room)} {closing}" if room > 0 else shortened(seen, DESCRIPTION_MAX)


def tags_of(kit: Kit, product: Product) -> tuple[str, ...]:
    """Tags: those of the product, of the kit, then its colours; always as many as a catalogue wants."""
    found = dict.fromkeys((*product.tags, *kit.tags, product.name, *kit.palette))
    for tag in _TAGS:
        if len(found) < TAGS_MIN:
            found[tag] = None
    return tuple(found)[:TAGS_MAX]


def shortened(text: str, limit: int) -> str:
    """The text, cut at a word where it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 1].rsplit(' ', 1)[0].rstrip(',;:. ')}…"


def _sentence(text: str) -> str:
    text = text.strip()
    closed = text if text.endswith((".", "!", "?", "…")) else f"{text}."
    return closed[:1].upper() + closed[1:]


def _lower(text: str) -> str:
    """The text with a small first letter, where its first word is an ordinary one."""
    first = text.split(" ", 1)[0]
    return text if first.isupper() and len(first) > 1 else text[:1].lower() + text[1:]


def _enumerated(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
