"""Who is meant by a few words of an idea: a phrase that can stand in a sentence, and a name.

Invariant: a phrase begins with "a", "an", "the" or the number of those who are meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.writers.phrases import with_article

CHILD = "a child"
NUMBERS = ("two", "three", "four", "five", "six", "seven")
#: How somebody begins who is more than one.
SEVERAL = (*NUMBERS, "eight", "nine", "ten", "twelve", "some", "many", "several", "all", "both")
#: What says whose somebody is; in a sentence of ours it is "a" instead.
OWNERS = ("my", "our", "your", "his", "her", "its", "their", "every", "each", "no", "one", "this", "that")
DETERMINERS = ("a", "an", "the", *SEVERAL, *OWNERS)
#: After these a thing begins that says more about the one before.
JOINTS = {
    *("with", "in", "on", "at", "by", "from", "under", "over", "behind", "near", "who", "that", "which", "and", "but"),
    *("while", "because", "when", "until", "for", "to", "into", "of", "through", "across", "beneath", "between"),
    *("beyond", "during", "without", "before", "after", "about", "named", "called"),
}
#: First words that look like a name at the beginning of a sentence.
NO_NAMES = {"he", "she", "it", "they", "we", "you", "i", "someone", "somebody", "no", "nobody", "everyone", "everybody"}
IRREGULAR = {"mice": "mouse", "children": "child", "people": "person", "men": "man", "women": "woman", "geese": "goose"}
IRREGULAR |= {"wolves": "wolf", "elves": "elf", "thieves": "thief", "fairies": "fairy", "oxen": "ox", "fish": "fish"}


@dataclass(frozen=True, slots=True)
class Somebody:
    """A phrase with its article or number ("a shy fox", "two mice"), and the name that the idea has, if any."""

    phrase: str
    name: str = ""


def somebody(words: Sequence[str], lore: Mapping[str, Any]) -> Somebody:
    """Who the words mean."""
    words = [word.strip(",;:") for word in words if word.strip(",;:")]
    if not words:
        return Somebody(CHILD)
    lowered = [word.casefold() for word in words]
    for at, word in enumerate(lowered[1:-1], start=1):
        if word in ("named", "called"):
            return Somebody(_sentence(words[:at], lore), _capital(" ".join(_named(words[at + 1 :]))))
    if is_name(words[0]) or lowered[0].capitalize() in _names(lore):
        return _by_name(words, lore)
    if len(words) > 2 and is_name(words[-1]) and lowered[-2] not in JOINTS and words[-2].islower():
        return Somebody(_sentence(words[:-1], lore), words[-1])
    return Somebody(_sentence(words, lore))


def is_name(word: str) -> bool:
    """Does a phrase that begins with the word begin with a name?"""
    bare = word.casefold().strip(",")
    return word[:1].isupper() and bare not in DETERMINERS and bare not in NO_NAMES and bare not in JOINTS


def is_several(phrase: str) -> bool:
    """Does a phrase begin with a number of more than one?"""
    return phrase.partition(" ")[0].casefold() in SEVERAL and " " in phrase


def head(phrase: str) -> str:
    """The noun of a phrase: ``a shy lighthouse keeper with a lamp`` -> keeper."""
    words = phrase.split()
    ends = (at for at, word in enumerate(words) if at and word.casefold() in (*JOINTS, *DETERMINERS))
    end = next(ends, len(words))
    return words[end - 1].casefold().strip(",.;:'’") if words else ""


def without_article(phrase: str) -> str:
    """``a whale`` -> whale."""
    first, _, rest = phrase.partition(" ")
    return rest if first.casefold() in DETERMINERS and rest else phrase


def indefinite(phrase: str) -> str:
    """With a or an, whatever it began with; ``two mice`` stay two."""
    return phrase if is_several(phrase) else with_article(without_article(phrase))


def is_being(phrase: str, lore: Mapping[str, Any]) -> bool:
    """Can it keep somebody company?"""
    return _single(head(phrase), lore) in lore["creatures"]["nouns"] or is_person(phrase, lore)


def is_person(phrase: str, lore: Mapping[str, Any]) -> bool:
    """Does the phrase name a human being, as far as its noun tells?"""
    noun, people = _single(head(phrase), lore), lore["people"]
    if noun in people["not_people"] or noun in lore["creatures"]["nouns"]:
        return False
    return noun in people["nouns"] or bool(re.search(r"[a-z]{2}(?:er|or|ist|ian|man|woman)$", noun))


def singular(phrase: str, lore: Mapping[str, Any]) -> str:
    """``two brothers`` -> two brother: what of each of them there is to know."""
    noun = head(phrase)
    return re.sub(rf"\b{re.escape(noun)}\b", _single(noun, lore), phrase, flags=re.I) if noun else phrase


def _single(noun: str, lore: Mapping[str, Any]) -> str:
    """A noun in the singular, where it is one of a known being."""
    people = lore["people"]
    known = {*lore["creatures"]["nouns"], *people["nouns"], *people["she"], *people["he"]}
    if noun in known or not noun.endswith("s") or noun.endswith(("'s", "s'")):
        return IRREGULAR.get(noun, noun)
    forms = (IRREGULAR.get(noun, ""), noun[:-1], noun[:-2], f"{noun[:-3]}y")
    person = noun[:-1] if re.search(r"[a-z]{2}(?:er|or|ist|ian)s$", noun) else noun
    return next((form for form in forms if form in known), person)


def _by_name(words: Sequence[str], lore: Mapping[str, Any]) -> Somebody:
    """``Peter the penguin``, ``Emma, a brave girl``, ``Old MacDonald's tractor``; or plain ``dragons``."""
    first = words[0].casefold()
    if is_being(first, lore) and first.capitalize() not in _names(lore):
        return Somebody(_sentence([first, *words[1:]], lore))
    name = _named(words)
    rest = words[len(name) :]
    if words[len(name) - 1].endswith("'s") and rest and is_being(" ".join(rest), lore):
        # "Grandma's robot": the story is about the robot.
        return Somebody(_sentence(rest, lore))
    kind = rest[0].casefold() in ("the", "a", "an") if rest else False
    return Somebody(_sentence(rest, lore) if kind and len(rest) > 1 else CHILD, _capital(" ".join(name)))


def _named(words: Sequence[str]) -> list[str]:
    """The words of a name at the beginning; of its possessive, whose it is."""
    name = [words[0]]
    for word in words[1:3]:
        if name[-1].endswith("'s") or not word[:1].isupper():
            break
        name.append(word)
    return [*name[:-1], name[-1].removesuffix("'s")]


def _names(lore: Mapping[str, Any]) -> set[str]:
    names = lore["names"]
    return {*names["she"], *names["he"], *names["known"]["she"], *names["known"]["he"]}


def _sentence(words: Sequence[str], lore: Mapping[str, Any]) -> str:
    """A phrase that can stand in a sentence, of words that may be anything."""
    words = _noun_phrase(_owner(words, lore), lore)
    first = words[0].casefold()
    if first == "the" and len(words) > 2 and words[1].casefold() in SEVERAL:
        words, first = words[1:], words[1].casefold()
    phrase = " ".join([first if first in DETERMINERS else words[0], *words[1:]])
    being = is_being(phrase, lore)
    if first in NO_NAMES or (len(words) > 1 and not being and first not in ("a", "an", "the", *NUMBERS)):
        return CHILD
    if first in JOINTS or all(word.casefold() in DETERMINERS for word in words):
        return CHILD
    if is_several(phrase):
        return phrase if first in NUMBERS else f"two {without_article(phrase)}"
    noun = head(phrase)
    if _single(noun, lore) != noun:
        return f"two {without_article(phrase)}"
    # What the world has one of keeps its article here, for the title.
    return phrase if first == "the" else indefinite(phrase)


def _noun_phrase(words: Sequence[str], lore: Mapping[str, Any]) -> list[str]:
    """Up to the known being that the words name, with what a joint adds to it: nothing of a verb that nobody knew."""
    for at, word in enumerate(words):
        after = words[at + 1].casefold() if at + 1 < len(words) else ""
        if is_being(word, lore) and after and after not in JOINTS and not is_being(after, lore):
            later = (is_person(one, lore) for one in words[at + 1 : at + 3])
            return list(words) if any(later) else list(words[: at + 1])
    return list(words)


def _owner(words: Sequence[str], lore: Mapping[str, Any]) -> list[str]:
    """Of a thing that belongs to somebody, the owner: ``grandma's birthday cake`` -> grandma."""
    if not is_being(" ".join(words), lore):
        for at, word in enumerate(words):
            if word.casefold().endswith("'s") and is_being(word[:-2], lore):
                return [*words[:at], word[:-2]]
    return list(words)


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
