"""Reads an idea: who the story is about, what they do, and with whom.

Invariant: reading is pure and never fails, and who it finds can stand in a sentence ("there lived {hero}"); of an idea
that it cannot take apart, the hero is a child.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tirada.workflows.stories.somebody import (
    CHILD,
    DETERMINERS,
    JOINTS,
    NUMBERS,
    Somebody,
    head,
    is_being,
    is_name,
    is_several,
    somebody,
)

LEADS = re.compile(
    r"^(?:(?:please )?(?:write |tell )?(?:me |us )?(?:(?:a|an|the) )?(?:short |little )?(?:story|tale|book) "
    r"(?:about|of|in which|where) "
    r"|once upon a time,? (?:there (?:was|were|lived) )?|there (?:once )?(?:was|were|lived) )",
    re.I,
)
IRREGULAR = {
    "goes": "go",
    "has": "have",
    "is": "be",
    "are": "be",
    "does": "do",
    "loses": "lose",
    "dies": "die",
    "lies": "lie",
}
#: Verbs (infinitive first) that are not a deed yet -> the deed they come to; {} is what follows the verb.
TURNS = {
    "want to": "{}",
    "try to": "{}",
    "decide to": "{}",
    "wish to": "{}",
    "have to": "{}",
    "need to": "{}",
    "plan to": "{}",
    "start to": "{}",
    "begin to": "{}",
    "long to": "{}",
    "learn how to": "learn to {}",
    "dream of": "make the dream of {} come true",
    "lose": "find {} again",
    "miss": "find {} again",
    "forget": "remember {}",
    "fear": "make peace with {}",
    "hate": "make peace with {}",
    "be afraid of": "stop being afraid of {}",
    "be scared of": "stop being afraid of {}",
    "be lost": "find the way home",
    "get lost": "find the way home",
}
#: After these comes what somebody would like to be able to do, or to come to.
CANNOT = {"can't": "{}", "cannot": "{}", "couldn't": "{}", "won't": "learn to {}", "wouldn't": "learn to {}"}
CANNOT |= {"doesn't": "learn to {}", "don't": "learn to {}", "didn't": "learn to {}"}
#: What follows these says nothing of what is to be done.
EMPTY = ("be", "have", "live", "was", "were", "had")
#: An idea that is nothing but one of these is what somebody would like to have.
EVENTS = {"day", "night", "morning", "evening", "hour", "week", "trip", "journey", "walk", "adventure", "birthday"}
EVENTS |= {"party", "picnic", "holiday", "summer", "visit", "dream", "race", "concert"}
#: Ideas of one word that is nobody, and takes no article.
STUFF = {"snow", "rain", "water", "ice", "fog", "wind", "fire", "sand", "light", "darkness", "night", "space", "food"}
STUFF |= {"love", "friendship", "courage", "luck", "happiness", "kindness", "peace", "hope", "honesty", "patience"}
STUFF |= {"music", "time", "sleep", "magic", "school", "winter", "spring", "summer", "autumn"}
FEASTS = {"christmas", "easter", "halloween"}
STUFF |= FEASTS
#: Ideas that are a question in the order of a statement: "how the elephant got its trunk".
ASKING = ("how", "why", "where", "what", "when", "who")
AUXILIARIES = {"is", "are", "do", "does", "did", "can", "was", "were", "will", "has", "have", "should", "could", "to"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """An idea taken apart."""

    #: With its article: "a shy lighthouse keeper". Of a hero who has nothing but a name it is "a child".
    hero: str
    #: What the idea calls the hero; "" where it does not.
    name: str = ""
    #: The infinitive: "befriend a whale"; "" where the idea names no deed.
    deed: str = ""
    #: With its article: "a whale"; "" where nobody keeps the hero company.
    friend: str = ""
    friend_name: str = ""
    #: The friend is no end of the story, but comes along from its beginning.
    along: bool = False
    #: she, he or they, where the idea says so.
    pronoun: str = ""


def read(text: str, lore: Mapping[str, Any]) -> Idea:
    """Take an idea apart; ``lore`` is what ``worlds.toml`` says."""
    asks = text.rstrip().endswith("?")
    words = LEADS.sub("", " ".join(text.replace("’", "'").split()).rstrip(" .!?…")).split()
    if len(words) > 1 and all(word.isupper() for word in words if any(char.isalpha() for char in word)):
        words = [word.casefold() for word in words]
    if words and words[0].isdecimal():
        words[0] = NUMBERS[int(words[0]) - 2] if words[0] in "234567" else "many"
    if not any(char.isalpha() for char in "".join(words)):
        return Idea(hero=CHILD)
    if words[0].casefold() in ASKING:
        statement = not asks and len(words) > 2 and words[1].casefold() not in AUXILIARIES
        return Idea(hero=CHILD, deed=f"find out {' '.join([words[0].casefold(), *words[1:]])}" if statement else "")
    if re.fullmatch(r"[a-z]{3,}ing", words[0].casefold()) and not is_being(words[0], lore):
        return Idea(hero=CHILD, deed=f"find out all about {' '.join([words[0].casefold(), *words[1:]])}")
    at = _verb(words, lore)
    if at is None:
        return _without_deed(words, lore)
    hero, other = _two(words[:at], lore)
    verb, rest = words[at].casefold(), words[at + 1 :]
    found = Idea(
        hero=hero.phrase,
        name=hero.name,
        deed=_deed(verb, rest),
        pronoun=_pronoun(hero, [*words[:at], *rest], lore),
    )
    if friend := _company(verb, rest, lore) or other:
        return replace(found, friend=friend.phrase, friend_name=friend.name, along=friend is other)
    return found


# --- who --------------------------------------------------------------------------------------------------------------


def _two(words: Sequence[str], lore: Mapping[str, Any]) -> tuple[Somebody, Somebody | None]:
    """Who stands before the verb: the hero, and who comes along."""
    kept = _bare(words)
    lowered = [word.casefold() for word in kept]
    if "and" not in lowered[1:-1]:
        return somebody(kept, lore), None
    at = len(lowered) - 1 - lowered[::-1].index("and")
    first, last = kept[:at], kept[at + 1 :]
    # "A dragon, a knight and a princess": a story has two of them.
    comma = next((at for at, word in enumerate(first) if word.endswith(",")), len(first) - 1)
    other = somebody(last, lore) if is_name(last[0]) or is_being(" ".join(last), lore) else None
    return somebody(first[: comma + 1], lore), other


def _bare(words: Sequence[str]) -> list[str]:
    """The hero's phrase without what is said of the hero in another clause."""
    ends = (at for at, word in enumerate(words) if at and word.casefold().strip(",") in ("who", "that", "which"))
    kept = list(words[: next(ends, len(words))])
    while len(kept) > 1 and kept[-1].casefold().strip(",") in ("and", "also", "always", "never", "just"):
        kept.pop()
    return kept


def _pronoun(hero: Somebody, words: Sequence[str], lore: Mapping[str, Any]) -> str:
    """By the first word that speaks of the hero: ``loses her tail``."""
    if is_several(hero.phrase):
        return "they"
    for word in words:
        for pronoun, forms in (("she", ("she", "her", "herself")), ("he", ("he", "his", "him", "himself"))):
            if word.casefold().strip(",.;") in forms:
                return pronoun
    names = lore["names"]
    known = (kind for kind in ("she", "he") if hero.name in (*names[kind], *names["known"][kind]))
    return next(known, "")


def _without_deed(words: Sequence[str], lore: Mapping[str, Any]) -> Idea:
    first = words[0].casefold()
    if first in ("a", "an") and head(" ".join(words)) in EVENTS:
        return Idea(hero=CHILD, deed=" ".join(["have", first, *words[1:]]))
    if len(words) == 1 and first in STUFF:
        return Idea(hero=CHILD, deed=f"find out all about {first.capitalize() if first in FEASTS else first}")
    if head(" ".join(words)) in EVENTS:
        return Idea(hero=CHILD)
    hero, other = _two(words, lore)
    found = Idea(hero=hero.phrase, name=hero.name, pronoun=_pronoun(hero, words, lore))
    return replace(found, friend=other.phrase, friend_name=other.name) if other else found


def _company(verb: str, rest: Sequence[str], lore: Mapping[str, Any]) -> Somebody | None:
    """Whom the deed brings in; None for a thing."""
    company = (*lore["verbs"]["company"], *map(infinitive, lore["verbs"]["company"]))
    if verb not in company or not rest or rest[0].casefold() not in ("a", "an", "the"):
        return None
    end = next((at for at, word in enumerate(rest) if at and word.casefold().strip(",") in JOINTS), len(rest))
    phrase = " ".join(rest[:end])
    welcome = infinitive(verb) in ("befriend", "meet", "adopt", "tame")
    return somebody(rest[:end], lore) if welcome or is_being(phrase, lore) else None


# --- what -------------------------------------------------------------------------------------------------------------


def _verb(words: Sequence[str], lore: Mapping[str, Any]) -> int | None:
    """Where the verb of the sentence is: a known one, or what looks like one between a noun and an object."""
    known = lore["verbs"]["known"]
    lowered = [word.casefold().strip(",;:") for word in words]
    before = [somebody(words[:at], lore).phrase for at in (1, 2, 3)]
    several = is_several(" ".join(words[:2])) or "and" in lowered or any(map(is_several, before))
    forms = {*known, *(infinitive(verb) for verb in known), "are"} if several else {*known}
    for at, word in enumerate(lowered[1:], start=1):
        if lowered[at - 1] in (*DETERMINERS, "and") and lowered[at - 1] != "that":
            continue
        after = lowered[at + 1] if at + 1 < len(words) else ""
        if word in forms or (word in CANNOT and after):
            return at
        ends = word.endswith("s") and not word.endswith(("ss", "us", "'s")) and len(word) > 3
        noun = is_being(lowered[at - 1], lore) and not is_being(word, lore)
        if ends and (noun or (at >= 2 and (after in DETERMINERS or after in ("to", "how", "for", "into")))):
            return at
    return None


def _deed(verb: str, rest: Sequence[str]) -> str:
    if verb in CANNOT:
        return CANNOT[verb].format(" ".join(rest))
    base = infinitive(verb)
    said = " ".join([base, *rest])
    for turn, becomes in sorted(TURNS.items(), key=lambda pair: -len(pair[0])):
        if f"{said.casefold()} ".startswith(f"{turn} ") and (said[len(turn) + 1 :] or "{" not in becomes):
            return becomes.format(said[len(turn) + 1 :])
    return "" if base in EMPTY else said


def infinitive(verb: str) -> str:
    """``befriends`` -> befriend; ``flies`` -> fly; ``teaches`` -> teach."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    if re.search(r"(?:ss|sh|ch|x|zz|o)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith("ss") else verb
