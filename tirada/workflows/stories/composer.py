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

from tirada.workflows.stories.idea import Idea, head, infinitive, is_person, read, without_article
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
    arc = _load(folder / ("friendship.toml" if idea.friend else "quest.toml"))
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
    hero, hero_is = _somebody(idea.hero, given[:1], lore, dice, lore["names"], pronoun=idea.pronoun)
    pool = dict.fromkeys(("she", "he"), lore["names"]["friends"])
    friend, friend_is = _somebody(friend_phrase, given[1:2], lore, dice, pool, taken=frozenset({hero.name}))
    place = _place(order, idea, lore)
    slots = {
        "hero": hero.name,
        "hero_np": "a child" if idea.named else _indefinite(idea.hero),
        "friend": friend.name,
        "friend_np": _indefinite(friend_phrase),
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


def _somebody(
    phrase: str,
    given: Sequence[Character],
    lore: Mapping[str, Any],
    dice: random.Random,
    names: Mapping[str, Sequence[str]],
    *,
    taken: frozenset[str] = frozenset(),
    pronoun: str = "",
) -> tuple[Character, str]:
    """A character with a name and a look, and the pronoun that goes with it."""
    if given:
        return given[0], pronoun or _gender(f"{phrase} {given[0].look}", lore) or "they"
    gender = pronoun or _gender(phrase, lore) or dice.choice(("she", "he"))
    free = [one for one in names["she" if gender == "they" else gender] if one not in taken]
    named = phrase[:1].isupper()
    name = phrase if named else " and ".join(dice.sample(free, 2 if phrase.startswith("two ") else 1))
    return Character(name[:NAME_MAX], _look("a child" if named else phrase, lore, dice)), gender


def _gender(text: str, lore: Mapping[str, Any]) -> str:
    words = set(re.findall(r"[a-z]+", text.casefold()))
    return next((kind for kind in ("she", "he") if words & {kind, *lore["people"][kind]}), "")


def _look(phrase: str, lore: Mapping[str, Any], dice: random.Random) -> str:
    body = _indefinite(phrase)
    if is_person(phrase, lore):
        joint = "," if " with " in body else " with"
        return f"{body}{joint} {dice.choice(lore['people']['hair'])}, wearing {dice.choice(lore['people']['clothes'])}"
    joint = "," if " with " in body else " with"
    return f"{body}{joint} {dice.choice(lore['creatures']['eyes'])} and {dice.choice(lore['creatures']['marks'])}"


def _indefinite(phrase: str) -> str:
    """With an article: ``the fox`` -> a fox; ``fox`` -> a fox."""
    bare = without_article(phrase)
    if bare == phrase or phrase.casefold().startswith("the "):
        return f"{'an' if bare[:1].casefold() in 'aeiou' else 'a'} {bare}"
    return phrase


def _infinitive_of(deed: str) -> str:
    verb, _, rest = deed.partition(" ")
    return f"{infinitive(verb)} {rest}"


def _place(order: Order, idea: Idea, lore: Mapping[str, Any]) -> dict[str, str]:
    worlds = lore["worlds"]
    spoken, heroes = _forms(f"{order.setting} {order.idea}"), _forms(f"{order.setting} {idea.hero}")

    def score(world: Mapping[str, Any]) -> int:
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
    hero = cast.hero.name if idea.named else f"the {_short(idea.hero)}"
    if idea.friend:
        title = f"{hero} and the {_short(idea.friend)}"
    elif idea.deed and not idea.named:
        title = f"{hero} who wanted to {idea.deed}"
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
