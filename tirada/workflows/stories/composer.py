"""The offline writer: little stories from arcs, episodes and an idea, without any model.

Invariant: the same idea, options and seed give the same book, and no sentence stands in a book twice.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tirada.workflows.stories.idea import Idea, infinitive, read
from tirada.workflows.stories.somebody import (
    NUMBERS,
    head,
    indefinite,
    is_person,
    is_several,
    singular,
    without_article,
)
from tirada.workflows.stories.text import NAME_MAX, Character, Page, Story, words_per_page

#: The most pages there is something to say for.
PAGES_MAX = 60
#: Words that a book of one page may have.
WHOLE = 120
#: How much more the words of the hero say about the place than the others.
HEROES_SHARE = 3
#: hero or friend: subject, object, possessive, reflexive.
PRONOUNS = {
    "she": ("she", "her", "her", "herself"),
    "he": ("he", "him", "his", "himself"),
    "they": ("they", "them", "their", "themselves"),
}
SMALL_WORDS = ("a", "an", "the", "and", "or", "of", "to", "in", "on", "at", "by", "for", "with", "from")
PREPOSITIONS = ("in", "on", "at", "by", "under", "near", "behind", "between", "above", "among", "inside", "beside")
TITLE_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the offline writer is asked for."""

    idea: str
    pages: int
    seed: int
    age: tuple[int, int] = (4, 7)
    title: str = ""
    characters: Sequence[Character] = ()
    setting: str = ""


@dataclass(frozen=True, slots=True)
class _Cast:
    """The two of them, as sentences need them."""

    hero: Character
    friend: Character
    slots: Mapping[str, str]


def compose(order: Order, folder: Path) -> Story:
    """Write the book; ``folder`` is ``data/stories``."""
    lore = _load(folder / "worlds.toml")
    dice = random.Random(f"{order.seed}\n{order.idea}")
    idea = read(order.idea, lore)
    cast = _cast(order, idea, lore, dice)
    arc = _load(folder / ("friendship.toml" if idea.friend and not idea.along else "quest.toml"))
    pages = _pages(order.pages, arc, _load(folder / "episodes.toml")["episodes"], dice)
    _, most = words_per_page(order.age)
    whole = order.pages == 1
    count = "one page" if whole else f"{order.pages} pages"
    said = " ".join(order.idea.split())
    return Story(
        title=order.title or _title(order.idea, idea, cast),
        summary=f"A picture book in {count} about {cast.hero.name} and {cast.friend.name}: {said}",
        characters=(cast.hero, cast.friend, *order.characters[2:]),
        setting=cast.slots["scenery"],
        cover=arc["cover"].format_map(cast.slots),
        pages=tuple(_page(page, cast, WHOLE if whole else most) for page in pages),
        writer="composer",
    )


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


# --- who and where --------------------------------------------------------------------------------------------------


def _cast(order: Order, idea: Idea, lore: Mapping[str, Any], dice: random.Random) -> _Cast:
    given = list(order.characters)
    friend_phrase = idea.friend or dice.choice(lore["creatures"]["companions"])
    pool = dict.fromkeys(("she", "he"), lore["names"]["friends"])
    hero, hero_is = _somebody(_Part(idea.hero, idea.name, idea.pronoun), given[:1], lore, dice, lore["names"])
    friend, friend_is = _somebody(_Part(friend_phrase, idea.friend_name), given[1:2], lore, dice, pool, other=hero)
    place = _place(order, idea, lore)
    slots = {
        "hero": hero.name,
        "hero_np": indefinite(idea.hero),
        "friend": friend.name,
        "friend_np": indefinite(friend_phrase),
        "the_friend": f"the {_short(friend_phrase)}",
        "deed": idea.deed or _infinitive_of(dice.choice(lore["wishes"]["deeds"])),
        **_pronouns(("he", "him", "his", "himself"), hero_is),
        **_pronouns(("she", "her", "hers", "herself"), friend_is),
        **place,
        "home": _home(idea.hero, lore) or place["home"],
    }
    return _Cast(hero, friend, slots)


def _pronouns(slots: Sequence[str], gender: str) -> dict[str, str]:
    forms = dict(zip(slots, PRONOUNS[gender], strict=True))
    return {**forms, slots[0].capitalize(): forms[slots[0]].capitalize()}


@dataclass(frozen=True, slots=True)
class _Part:
    """Who somebody is, with what the idea says of name and pronoun."""

    phrase: str
    name: str = ""
    pronoun: str = ""


def _somebody(
    part: _Part,
    given: Sequence[Character],
    lore: Mapping[str, Any],
    dice: random.Random,
    names: Mapping[str, Sequence[str]],
    other: Character | None = None,
) -> tuple[Character, str]:
    """A character with a name and a look, neither that of the other one, and the pronoun that goes with it."""
    each = singular(part.phrase, lore)
    several = is_several(part.phrase)
    if given:
        own = given[0].look
        return given[0], "they" if several else part.pronoun or _gender(f"{each} {own}", lore) or "they"
    gender = part.pronoun or _gender(each, lore) or ("they" if part.name else dice.choice(("she", "he")))
    named = _gender(each, lore) or (gender if gender in names else dice.choice(("she", "he")))
    free = [one for one in names[named] if other is None or one not in other.name]
    count = NUMBERS.index(part.phrase.split()[0]) + 2 if several else 1
    name = part.name[:NAME_MAX] or _listed(dice.sample(free, count))
    return Character(name, _look(part.phrase, lore, dice, "" if other is None else other.look)), (
        "they" if several else gender
    )


def _listed(names: Sequence[str]) -> str:
    """``Tove, Dorte and Suri``."""
    return " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])


def _gender(text: str, lore: Mapping[str, Any]) -> str:
    words = set(re.findall(r"[a-z]+", text.casefold()))
    return next((kind for kind in ("she", "he") if words & {kind, *lore["people"][kind]}), "")


def _look(phrase: str, lore: Mapping[str, Any], dice: random.Random, other: str) -> str:
    """What somebody looks like; nothing about them is in the look of the other one."""

    def one_of(choices: Sequence[str]) -> str:
        return dice.choice([choice for choice in choices if choice not in other])

    body, people, creatures = indefinite(phrase), lore["people"], lore["creatures"]
    joint = "," if " with " in body else " with"
    if is_person(phrase, lore):
        return f"{body}{joint} {one_of(people['hair'])}, wearing {one_of(people['clothes'])}"
    return f"{body}{joint} {one_of(creatures['eyes'])} and {one_of(creatures['marks'])}"


def _infinitive_of(deed: str) -> str:
    verb, _, rest = deed.partition(" ")
    return f"{infinitive(verb)} {rest}"


def _place(order: Order, idea: Idea, lore: Mapping[str, Any]) -> dict[str, str]:
    worlds = lore["worlds"]
    spoken, heroes = _forms(f"{order.setting} {order.idea}"), _forms(f"{order.setting} {idea.hero}")

    def score(world: Mapping[str, Any]) -> int:
        if head(idea.hero) in world["place"].split() and not order.setting:
            # The moon does not live on the moon.
            return 0
        words = set(world["words"])
        return len(spoken & words) + HEROES_SHARE * len(heroes & words)

    world = max(worlds[:-1], key=score)
    if not score(world):
        world = worlds[-1]
    found = {name: world[name] for name in ("place", "home", "path", "far", "scenery")}
    if setting := order.setting.strip(" ."):
        at_once = setting.split()[0].casefold() in PREPOSITIONS
        found |= {"place": setting if at_once else f"in {setting}", "scenery": setting}
    return found


def _forms(text: str) -> set[str]:
    """The words of a text, as they are and in the singular."""
    words = re.findall(r"[a-z]+", text.casefold())
    return {form for word in words for form in (word, word.rstrip("s"))}


def _home(hero: str, lore: Mapping[str, Any]) -> str:
    words = re.findall(r"[a-z]+", hero.casefold())
    return next((home for word, home in lore["homes"].items() if word in words), "")


def _title(said: str, idea: Idea, cast: _Cast) -> str:
    if not idea.deed and not idea.friend and any(char.isalpha() for char in said) and len(said) <= TITLE_MAX // 2:
        return _capitals(said.strip(" .!?"))
    hero = idea.name or f"the {_short(idea.hero)}"
    friend = idea.friend_name or (f"the {_short(idea.friend)}" if idea.friend else "")
    if friend and not (idea.along and idea.deed):
        title = f"{hero} and {friend}"
    elif idea.deed:
        who = f"{hero} and {friend}" if friend else hero
        wish = "who wanted" if not idea.name else "want" if friend else "wants"
        title = f"{who} {wish} to {idea.deed}"
    else:
        title = f"{hero} and {cast.friend.name}"
    if len(title) > TITLE_MAX:
        title = f"{cast.hero.name} and {cast.friend.name}"
    return _capitals(title)


def _short(phrase: str) -> str:
    """The phrase without what is said after its noun."""
    bare = without_article(phrase)
    noun = head(phrase)
    at = bare.casefold().find(noun)
    return bare[: at + len(noun)] if noun and at >= 0 else bare


def _capitals(title: str) -> str:
    words = title.split()
    return " ".join(
        word if at and word in SMALL_WORDS else word[:1].upper() + word[1:] for at, word in enumerate(words)
    )


# --- what happens ---------------------------------------------------------------------------------------------------


def _pages(
    count: int, arc: Mapping[str, Any], episodes: Sequence[Mapping[str, Any]], dice: random.Random
) -> list[Mapping[str, Any]]:
    """The pages of a book of that length, in order."""
    if count == 1:
        return [arc["whole"]]
    beats: list[Mapping[str, Any]] = arc["pages"]
    if count <= len(beats):
        by_rank = sorted(range(len(beats)), key=lambda at: beats[at]["rank"])[:count]
        return [beats[at] for at in arc.get("short", {}).get(str(count)) or sorted(by_rank)]
    middle = next(at for at, beat in enumerate(beats) if beat.get("then_episodes"))
    between = _episodes(count - len(beats), episodes, dice)
    return [*beats[: middle + 1], *between, *beats[middle + 1 :]]


def _episodes(count: int, episodes: Sequence[Mapping[str, Any]], dice: random.Random) -> list[Mapping[str, Any]]:
    """So many pages of episodes: as many whole ones as fit, and a shortened one where pages are left over."""
    shuffled = dice.sample(episodes, len(episodes))
    found: list[Mapping[str, Any]] = []
    for episode in shuffled:
        left = count - len(found)
        pages = episode["pages"]
        found += pages if left >= 3 else [pages[0], pages[-1]] if left == 2 else [pages[-1]] if left == 1 else []
    return found


def _page(page: Mapping[str, Any], cast: _Cast, most: int) -> Page:
    """As many of the page's sentences as have so many words: the first one at least."""
    kept: list[str] = []
    for sentence in page["text"]:
        said = _begun(sentence.format_map(cast.slots))
        if kept and len(" ".join([*kept, said]).split()) > most:
            break
        kept.append(said)
    return Page(" ".join(kept), page["picture"].format_map(cast.slots))


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
